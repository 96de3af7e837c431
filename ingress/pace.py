"""How much goes into one group: half after one that failed or took too long, slowly more again after others.

A slow link takes a small group in the time that there is, and a large one never.
"""

LEAST_SHARE = 1 / 1024
GROWTH = 1.1


class Pace:
    """For one kind of groups, which have up to `count` callbacks and `limit_bytes` at best."""

    def __init__(self, count: int, limit_bytes: int, share: float = 1.0) -> None:
        """`share`: how much of that the first group has."""
        self._count = count
        self._limit_bytes = limit_bytes
        self._share = share

    @property
    def count(self) -> int:
        """Callbacks in the next group, at most."""
        return max(1, int(self._count * self._share))

    @property
    def limit_bytes(self) -> int:
        """Bytes in the next group, at most (or one callback)."""
        return max(1, int(self._limit_bytes * self._share))

    def shrink(self) -> None:
        self._share = max(self._share / 2, LEAST_SHARE)

    def grow(self) -> None:
        self._share = min(self._share * GROWTH, 1.0)
