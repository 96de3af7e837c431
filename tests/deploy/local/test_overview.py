"""What `callbox up` shows of itself."""

from pathlib import Path

from deploy.local.overview import overview
from shared.config import Config
from shared.settings import Settings
from shared.source import Source

ADDRESSES = {
    "CALLBOX_URL": "http://127.0.0.1:1",
    "CALLBOX_ADMIN_URL": "http://127.0.0.1:2",
    "CALLBOX_BEAT_ADMIN_URL": "http://127.0.0.1:3",
}
SOURCES = {
    "fleet": Source("fleet", "emnify", secrets=("a-secret",)),
    "otp": Source("otp", "nxcloud", token="a-token-that-nobody-guesses"),
}
FOLDER = Path("var")
CONFIGURATION = Config(Path("callbox.toml"), Settings(), SOURCES)


def test_every_source_has_its_url_and_no_credential_is_shown() -> None:
    lines = list(overview(CONFIGURATION, FOLDER, ADDRESSES))
    assert lines == [
        "callbacks  http://127.0.0.1:1/callbacks/fleet   (emnify)",
        "callbacks  http://127.0.0.1:1/callbacks/otp/<token>   (nxcloud)",
        "metrics    http://127.0.0.1:2/metrics   (of the ingress)",
        "metrics    http://127.0.0.1:3/metrics   (of beat: what is in Redis and PostgreSQL)",
        "logs       var/logs",
    ]


def test_flower_is_shown_where_it_runs_and_why_it_is_elsewhere() -> None:
    lines = list(overview(CONFIGURATION, FOLDER, {**ADDRESSES, "FLOWER_URL": "http://127.0.0.1:5555"}))
    assert [line for line in lines if "http://127.0.0.1:5555/tasks" in line]
    elsewhere = {**ADDRESSES, "FLOWER_URL": "http://127.0.0.1:7"}
    (moved,) = [line for line in overview(CONFIGURATION, FOLDER, elsewhere) if "Flower" in line]
    assert ":7/tasks" in moved
    assert "port 5555 is taken" in moved
