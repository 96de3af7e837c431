"""No phone number, no text and no secret in the logs, in Flower, in the metrics or in what commands print, whatever
happens."""

import json
from collections.abc import Iterator

import click
import msgspec
import psycopg

from deploy.local import simulator
from shared.callback import Request
from shared.events import InboundMessage
from shared.providers import PROVIDERS
from tests import said
from tests.conftest import wait_until
from tests.deploy.commands.test_errors import LEAVES
from tests.pipeline.conftest import Running, Start, callbox, flower_tasks, http

PHONE = "447700900123"
TEXT = "meet me at the harbour"


PRIVATE = ("open", *(f"every-{provider}" for provider in PROVIDERS))


# The words that follow a command on a system with something of everything; {callback} and {dead_letter} are ids of it.
# A command that is missing here is called without words.
WORDS: dict[str, list[list[str]]] = {
    "completion": [["bash"]],
    "conflicts": [[], ["--json"]],
    "dead-letters discard": [["--all", "--dry"], ["--all"]],
    "dead-letters list": [[], ["--json"]],
    "dead-letters replay": [["--all", "--dry"], ["--all", "--json"]],
    "dead-letters show": [["{dead_letter}"]],
    "doctor": [["http://127.0.0.1:1/callbacks/open"]],
    "find": [["{callback}"], ["77001"], ["77001", "--json"]],
    "init": [["emnify"]],
    "migrate": [[], ["--after"]],
    "refused explain": [["last", "--source", "open"]],
    "refused list": [[], ["--json"]],
    "refused replay": [["--source", "open", "--dry"]],
    "remove-tests": [["--dry"]],
    "resume": [["open"]],
    "send": [["open", "--yes", "--kind", "mo"], ["support", "--yes", "--kind", "dr"]],
    "shards drain": [["1"]],
    "shards restore": [["1"]],
    "show": [["{callback}"], ["{callback}", "--json"]],
    "spool adopt": [["var/spool"]],
    "spool list": [["var/spool"], ["--json", "var/spool"]],
    "sql": [["-c", "SELECT 1"]],
    "status": [[], ["--json"]],
}
WHILE_IT_RUNS = {"up", "demo", "tail"}  # they go on; the terminal of `up` is looked at elsewhere
SHOW_CONTENT = {"show", "dead-letters show"}  # what they are for, unless they have --reveal for it


def private_requests(up: Running) -> list[Request]:
    message = InboundMessage(key=("mo", "77001"), message_id="77001", sender=f"+{PHONE}", recipient="1234", text=TEXT)
    requests = [simulator.request(up.sources[name], message) for name in PRIVATE]
    token = up.sources["otp"].token
    receipt = f"messageid=m77001&phone={PHONE}&status=2&result=DELIVRD"
    broken = receipt.replace("messageid", "nothing")
    otp = up.request("otp", "dr")
    return [
        *requests,
        msgspec.structs.replace(otp, body=receipt.encode()),
        msgspec.structs.replace(otp, body=broken.encode()),
        Request(method="GET", path="/callbacks/otp", query=f"{receipt}9&token={token}"),
    ]


METRICS = ("CALLBOX_ADMIN_URL", "CALLBOX_WORKER_ADMIN_URL", "CALLBOX_BEAT_ADMIN_URL")


def private_words(up: Running) -> list[str]:
    secrets = [secret for source in up.sources.values() for secret in (*source.secrets, source.token) if secret]
    return [PHONE, TEXT, "harbour", *secrets]


def assert_nothing_private(up: Running) -> None:
    pages = ("/", "/tasks", "/workers", "/broker", "/metrics")
    places = {
        "the logs": up.logs(),
        "the terminal": up.output,
        "Flower": str(flower_tasks(up))
        + "".join(http(up.addresses["FLOWER_URL"] + page)[1].decode() for page in pages),
        **{f"the metrics of {name}": http(up.addresses[name] + "/metrics")[1].decode() for name in METRICS},
    }
    for place, text in places.items():
        assert text, f"nothing to look at in {place}"
        for private in private_words(up):
            assert private not in text, f"{private!r} is in {place}"


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every registered command, with words that make it do something."""
    for path, command in LEAVES.items():
        name = " ".join(path)
        if name in WHILE_IT_RUNS:
            continue
        needs = [each.name for each in command.params if isinstance(each, click.Argument) and each.required]
        assert name in WORDS or not needs, f"`callbox {name}` needs {needs}: add words for it to WORDS"
        yield from ((name, words) for words in WORDS.get(name, [[]]))


def test_no_command_prints_what_is_private(system: Running) -> None:
    """A new command is called without words, or fails this test until it has some."""
    system.send(*private_requests(system), Request(method="POST", path="/callbacks/open", body=f"{{{PHONE}".encode()))
    system.wait_drained()
    (callback,) = system.send(private_requests(system)[0])
    system.wait_drained()
    listed = json.loads(system.command("dead-letters", "list", "--json").stdout)
    ids = {"callback": callback, "dead_letter": str(listed[0]["id"])}
    for name, words in commands():
        done = callbox(*name.split(), *(word.format_map(ids) for word in words), cwd=system.folder)
        assert done.returncode in (0, 1), f"{name}: {done.stderr}"
        assert "Traceback" not in done.stderr, name
        has_reveal = any("--reveal" in each.opts for each in LEAVES[tuple(name.split())].params)
        shown = done.stderr if name in SHOW_CONTENT and not has_reveal else done.stdout + done.stderr
        assert list(said.private_in(shown, private_words(system))) == [], name


def test_nothing_private_shows_also_when_drains_fail(start: Start) -> None:
    up = start("--ingress", "1")
    requests = private_requests(up)
    up.send(*requests)
    up.wait_drained()
    assert len(up.query("SELECT FROM callbacks WHERE outcome = 'dead'")) == 1

    # Refused: a wrong signature, a wrong path, a method of no provider.
    wrong = [
        msgspec.structs.replace(request, headers={}, path=request.path + "/x", method="PUT") for request in requests
    ]
    assert {answer.status for answer in up.answers(*wrong)} <= {401, 404, 405}

    # PostgreSQL refuses rows (an error that quotes them), then everything.
    with psycopg.connect(up.addresses["CALLBOX_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("ALTER TABLE inbound_messages ADD CONSTRAINT no_harbours CHECK (text NOT LIKE '%again%')")
        again = InboundMessage(key=("mo", "1"), message_id="1", sender=f"+{PHONE}", text=TEXT + " again")
        up.send(simulator.request(up.sources["open"], again))
        up.wait_drained()
        assert len(up.query("SELECT FROM dead_letters WHERE stage = 'store'")) == 1
        connection.execute("ALTER TABLE callbacks RENAME TO elsewhere")
        up.send(*requests)
        wait_until(lambda: "not migrated" in up.logs(), "a drain that waits, and says why")
        assert not up.drained()
        assert_nothing_private(up)
        connection.execute("ALTER TABLE elsewhere RENAME TO callbacks")
    wait_until(up.drained, "an empty inbox, once the table is back", 60)
    assert_nothing_private(up)
