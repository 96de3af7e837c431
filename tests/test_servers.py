"""The servers of a run of tests."""

from tests.conftest import Servers, answers


def test_both_servers_answer(embedded: Servers) -> None:
    assert all(answers(server.url) for server in embedded)
