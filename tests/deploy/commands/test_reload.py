"""`callbox reload` where there is nobody to ask, and what `callbox status` says of those who were not asked."""

import os
from pathlib import Path

from click.testing import CliRunner

from deploy.commands.main import main
from deploy.commands.status import Ledger, warnings
from deploy.local.folder import claimed, owner
from shared.inbox import Depth, Process, Snapshot
from tests.deploy.commands.test_status import NOW


def test_without_a_running_up_it_says_what_to_do(folder: Path) -> None:
    (folder / "callbox.toml").write_text('[sources.fleet]\nprovider = "emnify"\nunsigned = true\n')
    done = CliRunner().invoke(main, ["reload"])
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert "no `callbox up` runs in var or demo" in done.stderr
    assert "send SIGHUP to each (systemctl reload), the workers first" in done.stderr


def test_the_owner_of_a_folder_is_known_while_it_runs(tmp_path: Path) -> None:
    assert owner(tmp_path) is None
    with claimed(tmp_path):
        assert owner(tmp_path) == os.getpid()
    assert owner(tmp_path) is None


def test_processes_that_differ_are_named_and_those_that_met_a_mistake() -> None:
    def said(*processes: Process) -> list[str]:
        return list(warnings(Ledger(Snapshot(Depth(0, 0.0), {}, {}, {}, processes=processes), {}, {}), NOW))

    first, second = (Process("ingress", "aaaaaa", host="one", pid=pid) for pid in (1, 2))
    assert said(first, second) == []
    other = Process("worker", "bbbbbb", has_refused=True, host="two", pid=3)
    assert said(first, second, other) == [
        "worker 3 on two has found a mistake in callbox.toml, and goes on with what it had: see its log",
        (
            "not all processes have the same configuration: aaaaaa is that of ingress 1 on one, ingress 2 on one;"
            " bbbbbb is that of worker 3 on two: send SIGHUP to each, or run `callbox reload`"
        ),
    ]
