"""The system that a command works with: its configuration, and its servers."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.files import read_addresses
from shared import config, inbox
from shared.config import Config
from shared.providers import PROVIDERS
from shared.settings import Settings
from shared.source import Source
from workers.connection import connect
from workers.database import Database
from workers.queries import Queries

USUAL_FOLDER, DEMO_FOLDER = "var", "demo"  # of `callbox up` and of `make run`, below the folder where they are started
ANSWER_SECONDS = 5  # longest wait of a command for a server
COMMAND_SECONDS = 60.0  # longest statement of a command that changes rows: it may read a whole table


@dataclass(frozen=True)
class System:
    """What the environment names; behind it the `callbox up` that runs in a folder.

    Each method raises ConfigError, with every mistake in the environment or in the file.
    """

    environ: Mapping[str, str]
    config_path: Path | None = None

    @classmethod
    def find(cls, folder: Path | None, config_path: Path | None = None) -> "System":
        """The system of the environment, where an empty variable is not set, and of the `up` in this folder, if one
        runs there. Without a folder it is that of an `up` in the usual one, or else of the demonstration. Raises
        OSError when that may not be looked at and the environment names no server."""
        system = cls({name: value for name, value in os.environ.items() if value}, config_path)
        try:
            addresses = next(filter(None, map(read_addresses, folders_of(folder))), {})
        except OSError:
            if system.names_servers:
                return system
            raise
        return cls({**addresses, **system.environ}, config_path)

    @property
    def names_servers(self) -> bool:
        """Whether an `up` runs, or the environment names a server: else there are only usual addresses."""
        return any(self.environ.get(name) for name in ("CALLBOX_REDIS_URL", "CALLBOX_DATABASE_URL"))

    @property
    def settings(self) -> Settings:
        return config.load_settings(self.environ)

    @property
    def configuration_path(self) -> Path:
        """Where the sources are."""
        return self.config_path or config.path_in(self.environ)

    def configuration(self) -> Config:
        """The settings and the sources, from `config_path` or where the environment has them."""
        return config.load(self.config_path, self.environ, PROVIDERS)

    def readers(self) -> Mapping[str, Source]:
        """The sources, only to read callbacks with that are stored: no secret is needed."""
        return config.load_to_read(self.config_path, self.environ, PROVIDERS)

    def inbox(self) -> inbox.Inbox:
        """The whole inbox; what is asked of it raises RedisUnavailable."""
        return open_inbox(self.settings)

    def queries(self) -> Queries:
        """Raises psycopg.Error."""
        return Queries(self.settings.database_url)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Raises psycopg.OperationalError at once, which has the reason why PostgreSQL cannot be reached; later
        Unavailable."""
        settings = self.settings
        connect(settings.database_url, connect_timeout=ANSWER_SECONDS).close()
        database = Database(settings.database_url, max(settings.statement_seconds, COMMAND_SECONDS))
        try:
            yield database
        finally:
            database.close()


def folders_of(folder: Path | None) -> list[Path]:
    """Where to look for a running `up`: in the folder that was given, else in the usual ones."""
    return [folder] if folder else [Path(USUAL_FOLDER), Path(DEMO_FOLDER)]


def open_inbox(settings: Settings) -> inbox.Inbox:
    """An inbox that waits as long as a command may."""
    return inbox.Inbox.connect(settings, ANSWER_SECONDS)
