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
COMP_WORDS=({words}) COMP_CWORD={last}
_callbox_completion callbox
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    listed = " ".join(f"'{word}'" for word in ("callbox", *words))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"PATH": path, "HOME": str(folder)}
    script = ASK.format(words=listed, last=len(words))
    done = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_providers_and_sources(folder: Path) -> None:
    (folder / "callbox.toml").write_text('[sources.fleet]\nprovider = "x"\n[sources.field]\n[sources.otp]\n')
    assert completed(folder, "dead") == ["dead-letters"]
    assert completed(folder, "send", "--cou") == ["--count"]
    assert completed(folder, "send", "f") == ["fleet", "field"]
    assert completed(folder, "conflicts", "--source", "o") == ["otp"]
    assert completed(folder, "tail", "o") == completed(folder, "refused", "list", "o") == ["otp"]
    assert completed(folder, "refused", "replay", "--source", "o") == ["otp"]
    assert completed(folder, "init", "emnify", "n") == ["nxcloud"]
    (folder / "callbox.toml").unlink()
    assert completed(folder, "send", "f") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_that_the_shell_reads(folder: Path, shell: str) -> None:
    script = CliRunner().invoke(main, ["completion", shell]).stdout
    assert "_CALLBOX_COMPLETE" in script
    program = shutil.which(shell)
    if program is not None:
        done = subprocess.run([program, "-n"], input=script, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
