"""All hostile clients, by name."""

from collections.abc import Mapping

from tests.hostile import bodies, chunks, connections, floods, framings, heads, pipelines, proofs
from tests.hostile.client import REGISTERED, Client

# Importing a file registers its clients; in this order they run.
FILES = (chunks, pipelines, bodies, heads, framings, connections, floods, proofs)
CLIENTS: Mapping[str, Client] = {
    name: client for file in FILES for name, client in REGISTERED.items() if client.run.__module__ == file.__name__
}
