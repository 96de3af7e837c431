"""Lenient readers of what providers send: JSON and forms, and in them texts, numbers, times and phone numbers.

Two rules hold for all: what is read is safe for PostgreSQL and within its bounds, and what cannot be read stays in
`extra` with a note, unless the event cannot exist without it (`identity`, `distinction`); then it is a Malformed.
Nothing else is raised, whatever the bytes.
"""

from shared.payload.fields import Fields
from shared.payload.notes import STATUS_CONTRADICTED
from shared.payload.numbers import SMALLINT_MAX
from shared.payload.phones import msisdn, without_plus

__all__ = ["SMALLINT_MAX", "STATUS_CONTRADICTED", "Fields", "msisdn", "without_plus"]
