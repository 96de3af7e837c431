"""Three exceptions, three outcomes: refused, a dead letter, and another try later."""


class Rejected(Exception):
    """The callback cannot prove where it comes from: 401, and no row of it (promise P4), unless it is proven later.

    `reason` is one of a few fixed words. It goes to the log and the metric, never to the caller.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Malformed(Exception):
    """The callback is authentic but cannot be understood: acknowledged, then a dead letter (promise P5).

    `reason` is a short phrase that stays the same for the same kind of failure, so that dead letters can be
    grouped and replayed by it; `detail` has what a person needs to find the spot. Neither holds a phone number
    or a text.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Unavailable(Exception):
    """Our own failure: the callback could not be made durable, or PostgreSQL is away (promise P6).

    The ingress answers 503 with `Retry-After`; the drain waits.
    """
