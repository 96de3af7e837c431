import time

import pytest

from shared.allowance import Allowance


def test_so_much_a_second_and_what_was_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    some = Allowance(a_second=2, at_once=10)
    assert [some.allows(4), some.allows(4), some.allows(4), some.allows(2), some.allows(1)] == [
        True, True, False, True, False,
    ]  # fmt: skip
    now += 1
    assert [some.allows(1), some.allows(1), some.allows(1)] == [True, True, False]
    now += 3600
    assert [some.allows(11), some.allows(10), some.allows(1)] == [False, True, False]
