"""The Dockerfile, read as Docker reads it: no image is built here."""

import json
import re
import shlex
import subprocess
import sys
from typing import NamedTuple

from shared import config
from tests.deploy.docker.support import DIGEST, DOCKER, PROJECT, ROOT, options_in, read_lock


class Step(NamedTuple):
    word: str
    rest: str


def dockerfile() -> list[list[Step]]:
    """The steps of every stage, each from its FROM on; comments gone and continued lines joined."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    stages: list[list[Step]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        if word:
            stages[-1].append(Step(word, " ".join(rest.split())))
    return stages


STAGES = dockerfile()
FINAL = STAGES[-1]


def steps(stage: list[Step], word: str) -> list[str]:
    return [step.rest for step in stage if step.word == word]


def test_every_stage_starts_from_the_same_slim_python_of_a_fixed_minor_version() -> None:
    bases = {stage[0].rest.partition(" AS ")[0] for stage in STAGES}
    assert len(bases) == 1
    assert len(STAGES) > 1
    found = re.fullmatch(rf"python:(3\.\d+)-slim{DIGEST}", bases.pop())
    assert found
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert tuple(map(int, found[1].split("."))) >= tuple(map(int, lowest.split(".")))


def test_the_image_runs_as_a_fixed_user_that_is_not_root() -> None:
    words = [step.word for step in FINAL]
    assert words.index("USER") < words.index("CMD")
    user = steps(FINAL, "USER")[-1]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    for number, option in zip(user.split(":"), ("--uid", "--gid"), strict=True):
        assert any(f"{option} {number}" in run for run in steps(FINAL, "RUN"))


def test_the_image_holds_no_build_tool() -> None:
    """What builds stays in its stage: the final one installs nothing, and copies only the environment."""
    for run in steps(FINAL, "RUN"):
        assert not re.search(r"\b(apt-get|apt|apk|pip|gcc|g\+\+|make|cargo)\b", run), run
    assert [copy.split()[0] for copy in steps(FINAL, "COPY")] == ["--from=build"]
    assert steps(STAGES[0], "FROM")[0].endswith(" AS build")


def test_everything_installed_is_locked_by_hash_or_built_from_the_sources() -> None:
    installs = [part.strip() for run in steps(STAGES[0], "RUN") for part in run.split("&&") if "pip" in part]
    taken = [part for part in installs if " install " in part or " wheel " in part]
    assert len(taken) == 4
    for part in taken:
        assert "--require-hashes" in part or "--no-deps" in part, part
        assert "--require-hashes" not in part or "--only-binary=:all:" in part, part
        assert "index-url" not in part, part
    assert any("--require-hashes" in part and "deploy/locks/runtime.txt" in part for part in taken)


def test_the_setuptools_of_the_lock_builds_the_wheel() -> None:
    program = next(part for run in steps(STAGES[0], "RUN") for part in run.split("&&") if part.startswith("awk"))
    command = program.partition(" > ")[0]
    cut = subprocess.run(shlex.split(command), cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert list(read_lock(cut)) == ["setuptools"]


def test_every_file_copied_exists_and_is_in_the_build_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for stage in STAGES:
        for copy in steps(stage, "COPY"):
            *sources, _ = copy.split()
            for source in sources if not copy.startswith("--from=") else ():
                assert (ROOT / source).exists(), source
                assert f"!{source.partition('/')[0]}" in ignored, source


def test_the_build_context_holds_nothing_but_what_is_named_and_no_secret() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignored[0] == "*"
    named = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copied = {source for stage in STAGES for copy in steps(stage, "COPY") for source in copy.split()[:-1]}
    assert set(named) <= copied
    last = max(ignored.index(f"!{name}") for name in named)
    assert {"deploy/docker/.env", "deploy/docker/secrets.env", "deploy/docker/callbox.toml"} <= set(ignored[last:])


def test_the_image_runs_the_ingress_by_default() -> None:
    command = json.loads(steps(FINAL, "CMD")[-1])  # the exec form is JSON
    assert command == ["python", "-m", "ingress", "--host", "0.0.0.0", "--port", "8000"]
    done = subprocess.run([sys.executable, *command[1:3], "--help"], capture_output=True, text=True, cwd=ROOT)
    assert set(options_in(command[3:])) <= set(re.findall(r"--[a-z-]+", done.stdout))


def test_the_image_answers_admin_paths_at_a_port_of_their_own() -> None:
    assert image_environment()["CALLBOX_ADMIN_BIND"] == "0.0.0.0:8001"
    assert config.load_settings(image_environment()).admin_address == ("0.0.0.0", 8001)
    assert steps(FINAL, "EXPOSE") == ["8000 8001"]


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for step in steps(FINAL, "ENV") for pair in step.split())
