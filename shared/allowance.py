"""How much of something that is dear a process does in a second, whoever asks for it."""

import time


class Allowance:
    """So much each second; what is not used is kept, up to `at_once`."""

    def __init__(self, *, a_second: float, at_once: float) -> None:
        self._a_second, self._at_once = a_second, at_once
        self._left, self._since = at_once, time.monotonic()

    def allows(self, amount: float) -> bool:
        """Whether so much may be done now; it is taken off what is left then."""
        now = time.monotonic()
        self._left = min(self._at_once, self._left + (now - self._since) * self._a_second)
        self._since = now
        if amount > self._left:
            return False
        self._left -= amount
        return True
