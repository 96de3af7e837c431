"""What becomes of a callback, and the stages in which one fails."""

from enum import StrEnum


class Outcome(StrEnum):
    """Of a callback, once it is in PostgreSQL."""

    STORED = "stored"  # at least one of its events is new
    DUPLICATE = "duplicate"  # its events were stored before
    DEAD = "dead"  # nothing new, and something that was not understood
    IGNORED = "ignored"  # authentic and understood, but empty


class Stage(StrEnum):
    """Where a callback or an event failed: the `stage` of its dead letter."""

    UNPACK = "unpack"  # the inbox entry is not readable
    SOURCE = "source"  # its source is not configured
    PARSE = "parse"  # its provider's parser did not understand it
    DRAIN = "drain"  # its workers died
    STORE = "store"  # PostgreSQL refused its rows
