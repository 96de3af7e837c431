"""The doorbell: the one Celery message that the ingress writes itself. All that is known of Celery's wire format.

It asks a worker to run a drain. It is only a hint: losing one costs latency, never data. Celery's own publish is
blocking, and a round trip of its own; this message goes along with the script call that appends.

The format is message protocol 2 of Celery (docs: Internals, Message Protocol) in the envelope of kombu's virtual
transports. `tests/pipeline/test_doorbell.py` holds it against a real worker of the locked version.
"""

import base64
from uuid import UUID

import msgspec

QUEUE = "callbox"  # the queue is the Redis list of this name
TASK = "callbox.drain"

_NO_ARGUMENTS = base64.b64encode(
    msgspec.json.encode([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
).decode()


def ring(id: UUID) -> bytes:
    """The message that asks for one drain. `id` must be new: Celery tells messages apart by it."""
    return msgspec.json.encode(
        {
            "body": _NO_ARGUMENTS,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": TASK, "id": str(id), "root_id": str(id), "argsrepr": "()"},
            "properties": {
                "body_encoding": "base64",
                "correlation_id": str(id),
                "delivery_info": {"exchange": "", "routing_key": QUEUE},
                "delivery_mode": 2,
                "delivery_tag": str(id),
                "priority": 0,
            },
        }
    )
