"""What Callbox demands of a server, held against the server: its promises are no better than those of what it uses."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shared import logs

CHECK_SECONDS = 60.0  # between two checks of a process that serves

log = logs.get(__name__)


class Examined(NamedTuple):
    """What was found about a server, in sentences that name what to do. `unmet` breaks a promise; `risks` do not
    yet."""

    version: str
    unmet: Sequence[str] = ()
    risks: Sequence[str] = ()


class Watch:
    """What a process knows of the servers that it uses. It logs what is unmet when it comes and when it has gone."""

    def __init__(self) -> None:
        self._unmet: dict[str, Sequence[str]] = {}

    @property
    def unmet(self) -> Mapping[str, Sequence[str]]:
        """By server, as last found; only what was checked."""
        return self._unmet

    def note(self, what: str, unmet: Sequence[str]) -> None:
        before = self._unmet.get(what, ())
        self._unmet[what] = unmet
        for sentence in unmet:
            if sentence not in before:
                log.error("a promise cannot be kept", what=what, why=sentence)
        if before and not unmet:
            log.info("every promise can be kept again", what=what)
