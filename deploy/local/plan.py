"""What `callbox up` is to run, and where."""

import os
from dataclasses import dataclass
from pathlib import Path

from shared.config import Config


@dataclass(frozen=True)
class Roles:
    """Which processes of Callbox run, beside beat: how many ingresses, how many children of the worker, and Flower."""

    ingresses: int = 1
    workers: int = 2
    flower: bool = True


@dataclass(frozen=True)
class Plan:
    """A folder for everything, the configuration, the port for callbacks (0: any free one), and what runs.

    A server whose URL is None is brought along.
    """

    folder: Path
    config: Config
    port: int
    roles: Roles
    redis_url: str | None = None
    database_url: str | None = None

    @classmethod
    def of(cls, configuration: Config, folder: Path, port: int, roles: Roles) -> "Plan":
        """A plan that uses the servers which the environment names."""
        redis_url, database_url = (os.environ.get(f"CALLBOX_{name}_URL") or None for name in ("REDIS", "DATABASE"))
        return cls(folder.resolve(), configuration, port, roles, redis_url, database_url)
