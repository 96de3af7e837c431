"""Other spellings of a URL, for a signature that covers it; no more than a stranger may make us try."""

from collections.abc import Iterator

from shared.allowance import Allowance
from shared.payload.form import Form
from shared.payload.spellings import LIKELY, spellings

TRY_BYTES = 512  # what a try costs, beside its bytes


class Respelled:
    """A process's allowances, in bytes of URLs, each counted with TRY_BYTES more: each 4 to 6 % of a core's time.

    The likely spellings have one of their own, so that a flood must be large before an honest one is not tried.
    """

    def __init__(self) -> None:
        self.likely, self.unlikely = (Allowance(a_second=4 * 1024**2, at_once=16 * 1024**2) for _ in range(2))

    def spellings(self, query: bytes) -> Iterator[bytes]:
        """The same parameters in the same order, as encoders write them. Raises Malformed as Form does."""
        cost = TRY_BYTES + len(query)
        if not query or not self.likely.allows(LIKELY * cost):
            return
        for number, spelling in enumerate(spellings(Form(query))):
            if number >= LIKELY and not self.unlikely.allows(cost):
                return
            yield spelling
