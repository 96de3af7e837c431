"""The benchmark runs, at a size that says nothing of speed, and its counts are right: it must not rot."""

from pathlib import Path
from xml.etree import ElementTree

from tests.load.__main__ import measure, write
from tests.load.measure import GROUP, TINY
from tests.load.report import targets


def test_the_benchmark_runs_and_writes_its_pages(tmp_path: Path) -> None:
    (tmp_path / "rig").mkdir()
    found = measure(tmp_path / "rig", TINY, is_forked=True)
    assert all(rate > 0 for rates in found.rates.values() for rate in rates)
    assert {len(rates) for rates in found.rates.values()} == {TINY.rounds}
    assert found.figure("stored events, grown") == TINY.backlogs * (TINY.backlog + GROUP)
    write(found, TINY, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    assert all(target.row() in page for target in targets(found))
    assert "{" not in page
    bars = ElementTree.parse(tmp_path / "benchmarks.svg").findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 9
