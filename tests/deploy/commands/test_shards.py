"""What `callbox shards` shows while a Redis is away."""

import json

import pytest

from deploy.commands.main import main


def test_a_shard_that_is_away_is_named_and_the_others_are_listed(
    redis_url: str, folder: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CALLBOX_REDIS_URL", f"{redis_url} redis://127.0.0.1:1")
    with pytest.raises(SystemExit) as ended:
        main(["shards", "--json"])
    said = capsys.readouterr()
    first, second = json.loads(said.out)
    assert (first["waiting"], first["state"]) == (0, "takes callbacks")
    assert (second["redis"], second["waiting"], second["oldest_seconds"]) == ("127.0.0.1:1", None, None)
    assert second["state"] == "Redis does not answer (Connection refused)"
    assert (ended.value.code, said.err) == (1, "callbox: shard 1: Redis does not answer (Connection refused)\n")
