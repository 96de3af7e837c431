"""The error of everything that is started on this machine."""


class CannotStart(Exception):
    """Something that `callbox up` needs is missing or in use; the message names it, and what to do."""
