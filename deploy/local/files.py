"""The files that a `callbox up` keeps in its folder for itself and for commands. Only its own user may read them."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Writes a file that only this user may read, all or nothing."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    write_new(new, text, 0o600)
    new.replace(path)


def write_new(path: Path, text: str, mode: int) -> None:
    """Writes a file that is not there yet, all or nothing. Raises FileExistsError, or another OSError, which names the
    file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # else a power failure may leave it empty
    except BaseException as error:
        path.unlink()
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def read_password(path: Path) -> str:
    """The password kept in this file, made at the first start."""
    if not path.exists():
        write_private(path, secrets.token_hex(16))
    return path.read_text().strip()


def write_addresses(folder: Path, addresses: Mapping[str, str]) -> None:
    """DIR/env: where everything is, one `KEY=value` a line."""
    write_private(folder / "env", "".join(f"{name}={value}\n" for name, value in addresses.items()))


def read_addresses(folder: Path) -> dict[str, str]:
    """What a running `up` wrote into DIR/env; empty when none runs there. Raises OSError when it may not be read."""
    try:
        lines = (folder / "env").read_text("utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)


def write_pids(folder: Path, pids: Mapping[str, int]) -> None:
    """DIR/pids.json: the id of each running process, by its name."""
    write_private(folder / "pids.json", json.dumps(pids, indent=2) + "\n")


def read_pids(folder: Path) -> Mapping[str, int]:
    """What a running `up` wrote into DIR/pids.json; empty when none runs there."""
    try:
        pids: dict[str, int] = json.loads((folder / "pids.json").read_text())
    except OSError:
        return {}
    return pids


def remove_traces(folder: Path) -> None:
    """Removes what shows that an `up` runs here."""
    for name in ("env", "pids.json"):
        (folder / name).unlink(missing_ok=True)
