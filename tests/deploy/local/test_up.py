"""`callbox up` as its operator sees it. What it promises of its processes is in tests/pipeline/test_up.py."""

import errno

from deploy.local import up


def test_a_terminal_or_a_disk_that_takes_no_line_is_no_reason_to_stop() -> None:
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        raise OSError(errno.ENOSPC, "No space left on device")

    up._patient(report)("worker-1 was ended by SIGKILL; starting it again")
    assert lines == ["worker-1 was ended by SIGKILL; starting it again"]
