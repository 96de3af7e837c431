"""Completion, in the shells themselves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.commands.completion import SHELLS
from deploy.commands.main import main

ASK = """
eval "$(callbox completion bash)"
ask() {
    COMP_WORDS=(callbox "$@") COMP_CWORD=$# COMPREPLY=()
    _callbox_completion callbox
    echo "${COMPREPLY[*]}"
}
"""


def completed(folder: Path, *lines: str) -> list[str]:
    """What one bash offers for the last word of each of these lines."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"PATH": path, "HOME": str(folder)}
    script = ASK + "".join(f"ask {line}\n" for line in lines)
    done = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_bash_completes_commands_options_providers_and_sources(folder: Path) -> None:
    (folder / "callbox.toml").write_text('[sources.fleet]\nprovider = "x"\n[sources.field]\n[sources.otp]\n')
    offered = {
        "dead": "dead-letters",
        "send --cou": "--count",
        "send f": "fleet field",
        "conflicts --source o": "otp",
        "tail o": "otp",
        "refused list o": "otp",
        "refused replay --source o": "otp",
        "init emnify n": "nxcloud",
    }
    assert dict(zip(offered, completed(folder, *offered), strict=True)) == offered
    (folder / "callbox.toml").unlink()
    assert completed(folder, "send f") == [""]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_that_the_shell_reads(folder: Path, shell: str) -> None:
    script = CliRunner().invoke(main, ["completion", shell]).stdout
    assert "_CALLBOX_COMPLETE" in script
    program = shutil.which(shell)
    if program is not None:
        done = subprocess.run([program, "-n"], input=script, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
