"""Celery's programs: what they need before they start, and what they print."""

import json
from types import SimpleNamespace

import pytest

from workers import programs
from workers.app import Failed, _no_message_of_others


@pytest.mark.parametrize("address", ["", "0.0.0.0", "192.0.2.1", "::", "flower.example"])
def test_flower_needs_a_password_where_others_reach_it(address: str) -> None:
    options = {"basic_auth": [], "auth": "", "unix_socket": "", "address": address}
    with pytest.raises(ValueError, match=r"without a password .* set FLOWER_BASIC_AUTH"):
        programs.check_flower(SimpleNamespace(**options))
    programs.check_flower(SimpleNamespace(**options | {"basic_auth": ["me:secret"]}))
    programs.check_flower(SimpleNamespace(**options | {"auth": ".*@example[.]com"}))
    programs.check_flower(SimpleNamespace(**options | {"unix_socket": "/run/flower"}))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_this_host_flower_needs_none(address: str) -> None:
    programs.check_flower(SimpleNamespace(basic_auth=None, auth="", unix_socket="", address=address))


def test_what_a_worker_says_in_a_handler_of_signals_is_a_line_of_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    programs._log_output("worker: Warm shutdown (MainProcess)")
    line = json.loads(capfd.readouterr().err)
    assert line["event"] == "worker: Warm shutdown (MainProcess)"
    assert line.keys() == {"event", "logger", "level", "time"}


def test_no_exception_with_a_message_of_others_leaves_a_task() -> None:
    with pytest.raises(Failed) as raised, _no_message_of_others():
        raise KeyError("+447700900123")
    assert "447700900123" not in repr(raised.value)
    assert raised.value.__suppress_context__
