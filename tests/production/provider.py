"""The provider of a source, somewhere in the network of the hosts: sends signed callbacks that are no tests, and prints
the id of each that was accepted. `python -m tests.production.provider URL SECRET COUNT`"""

import random
import sys
from datetime import UTC, datetime

import msgspec

from deploy.local import simulator
from deploy.local.sender import Sender
from shared.callback import TEST_HEADER, Request
from shared.source import Source


def real(request: Request) -> Request:
    """The request without the mark of a test."""
    headers = {name: value for name, value in request.headers.items() if name != TEST_HEADER}
    return msgspec.structs.replace(request, headers=headers)


def main(url: str, secret: str, count: str) -> None:
    source = Source("fleet", "emnify", secrets=(secret,))
    with Sender(url) as sender:
        for _ in range(int(count)):
            event = simulator.event("dr", datetime.now(UTC), random.Random())
            answer = sender.send(real(simulator.request(source, event)))
            if answer.status != 200:
                sys.exit(f"refused: {answer}")
            print(answer.callback_id)


if __name__ == "__main__":
    main(*sys.argv[1:])
