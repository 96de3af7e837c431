"""Which configuration each process has, as Redis knows it."""

from shared import inbox
from shared.inbox import Process
from shared.inbox.processes import REPORT_SECONDS
from tests.keys import PROCESSES


def reported(url: str) -> list[Process]:
    with inbox.connect(url, 5.0) as client:
        return list(inbox.take_snapshot(client).processes)


def test_the_latest_report_of_each_process_counts_until_it_leaves(redis_url: str) -> None:
    first, second = Process("ingress", "aaaaaa", pid=1), Process("worker", "aaaaaa", pid=2)
    with inbox.connect(redis_url, 5.0) as client:
        for process in (first, second):
            inbox.report_process(client, process)
        assert reported(redis_url) == [first, second]
        changed = Process("ingress", "bbbbbb", has_refused=True, pid=1)
        inbox.report_process(client, changed)
        assert reported(redis_url) == [changed, second]
        inbox.forget_process(client, second)
        assert reported(redis_url) == [changed]


def test_a_process_that_reports_no_more_is_forgotten(redis_url: str) -> None:
    killed, other = Process("worker", "aaaaaa", pid=1), Process("worker", "aaaaaa", pid=2)
    with inbox.connect(redis_url, 5.0) as client:
        inbox.report_process(client, killed)
        (report,) = client.hvals(PROCESSES)
        assert isinstance(report, bytes)
        at = float(report.partition(b'"at":')[2].partition(b",")[0])
        old = report.replace(f"{at}".encode(), f"{at - 4 * REPORT_SECONDS}".encode())
        client.hset(PROCESSES, killed.name, old)
        assert reported(redis_url) == []
        inbox.report_process(client, other)
        assert client.hkeys(PROCESSES) == [other.name.encode()]
