"""What Celery and billiard are configured to do."""

from types import SimpleNamespace
from typing import Any

import billiard.pool
import pytest

from workers import app


def test_a_child_whose_result_nobody_reads_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(billiard.pool, "time", SimpleNamespace(sleep=slept.append))
    child: Any = SimpleNamespace(on_ready_counter=SimpleNamespace(value=0))
    assert billiard.pool.Worker._ensure_messages_consumed(child, completed=1) is False
    assert 0 < sum(slept) <= app.LEAVE_SECONDS + 0.1
