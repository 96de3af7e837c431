"""The doorbell: the one Celery message that is not sent by Celery. Everything that is known of Celery's wire format.

It asks a worker to run a drain. It is only a hint: losing one costs latency, never data. Celery's own publish is
blocking, and takes more than the one round trip that this takes.

The format is message protocol 2 of Celery (docs: Internals, Message Protocol) in the envelope of kombu's virtual
transports. `tests/pipeline/test_by_hand.py` holds it against a real worker of the locked version.
"""

import base64
from contextlib import suppress
from datetime import datetime
from uuid import UUID

import msgspec
import redis
from redis.exceptions import OutOfMemoryError

from shared.callback import new_id
from shared.inbox.errors import or_unavailable
from shared.inbox.keys import script

QUEUE = "callbox"  # the queue is the Redis list of this name
TASK = "callbox.drain"

_NO_ARGUMENTS = base64.b64encode(
    msgspec.json.encode([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
).decode()


def message(id: UUID) -> bytes:
    """The message that asks for one drain. `id` must be new: Celery distinguishes messages by it."""
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


@or_unavailable
def is_rung(broker: redis.Redis) -> bool:
    """Whether a message waits for a worker. Raises RedisUnavailable."""
    return bool(broker.llen(QUEUE))


@or_unavailable
def ring(broker: redis.Redis, now: datetime) -> None:
    """Asks for another drain, unless one is asked for already. Raises RedisUnavailable.

    A Redis without memory takes no message. Then this does nothing: the drain that makes room must go on.
    """
    with suppress(OutOfMemoryError):
        broker.register_script(script("ring"))(keys=[QUEUE], args=[message(new_id(now))])
