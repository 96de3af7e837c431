"""A refused request proven again: as it came, when it came, with the configuration of today."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from msgspec.structs import replace as replace_fields

from ingress.reproof import Reproof
from shared import providers
from shared.callback import COMMON_HEADERS, Arrival, new_id
from shared.config import Config
from shared.errors import Malformed, Rejected
from shared.providers import PROVIDERS
from shared.refused import Refused
from shared.settings import Settings
from shared.source import Source
from tests.ingress.conftest import NOW
from tests.providers.support import source_of
from tests.providers.test_battery import MESSAGE, OLD, OTHER, PROOF

TOKEN = "t0ken-t0ken-t0ken"


def refused_by(source: Source, secret: str = OLD, reason: str = "signature_wrong", **changes: object) -> Refused:
    """A request that the provider signed with this secret, as it is kept."""
    path = f"/callbacks/{source.name}" + (f"/{source.token}" if source.token else "")
    request = replace_fields(PROVIDERS[source.provider].render(MESSAGE), path=path, query="a=1")
    request = providers.sign(request, replace(source, secrets=(secret,)))
    arrival = Arrival.of(
        id=new_id(NOW),
        source=source.name,
        provider=source.provider,
        received_at=NOW,
        method=request.method,
        target=request.target,
        headers=dict(request.headers),
        body=request.body,
        remote_ip="192.0.2.7",
    )
    return Refused.unpacked(Refused.of(replace_fields(arrival, **changes), reason, source, "10.0.0.1", {}).packed())


def reproof(*sources: Source, settings: Settings | None = None) -> Reproof:
    named = {source.name: source for source in sources}
    return Reproof(Config(Path("callbox.toml"), settings or Settings(), named), PROVIDERS)


def reason(of: Reproof, refused: Refused) -> str:
    with pytest.raises(Rejected) as caught:
        of.prove(refused)
    return caught.value.reason


def a_source(provider: str, *secrets: str, **keys: object) -> Source:
    source = source_of(provider, secrets=secrets, **keys)
    return replace(source, name=provider)


# Of a provider that signs its time too, the request comes within the window.
SIGNED_NOW = {provider: proof for provider, proof in PROOF.items() if provider != "nxcloud"}


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("provider", SIGNED_NOW)
def test_with_the_right_secret_it_becomes_the_callback_that_it_would_have_been(
    provider: str, token: str | None
) -> None:
    wrong, right = (a_source(provider, secret, token=token) for secret in (OTHER, OLD))
    refused = refused_by(wrong)
    assert reason(reproof(wrong), refused) == "signature_wrong"
    callback = reproof(right).prove(refused)
    assert (callback.id, callback.received_at, callback.source) == (refused.callback.id, NOW, provider)
    assert (callback.query, callback.remote_ip, callback.body) == ("a=1", "192.0.2.7", refused.callback.body)
    assert callback.headers.keys() <= COMMON_HEADERS | PROVIDERS[provider].HEADERS


def test_a_time_that_is_signed_is_compared_with_that_of_receipt() -> None:
    wrong, right = a_source("nxcloud", OTHER), a_source("nxcloud", OLD)
    refused = refused_by(wrong)
    at = int(refused.callback.headers["ts"]) / 1000
    then = NOW.fromtimestamp(at, NOW.tzinfo)
    for late, outcome in ((0, None), (299, None), (301, "timestamp_outside_window")):
        came = replace_fields(refused.callback, received_at=then + timedelta(seconds=late))
        if outcome:
            assert reason(reproof(right), refused._replace(callback=came)) == outcome
        else:
            assert reproof(right).prove(refused._replace(callback=came)).id == refused.callback.id


def test_no_token_is_kept_and_the_source_s_of_today_is_put_in_its_place() -> None:
    source = a_source("twilio", OLD, token=TOKEN)
    refused = refused_by(source)
    assert refused.target == "/callbacks/twilio/…?a=1"
    assert TOKEN not in repr(refused) + repr(refused.packed())
    assert reproof(source).prove(refused)
    assert reason(reproof(replace(source, token="another")), refused) == "signature_wrong"


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (f"/callbacks/x/{TOKEN}", "/callbacks/x/…"),
        (f"/callbacks/x/{TOKEN}/?a=1", "/callbacks/x/…/?a=1"),
        (f"/callbacks/x/{TOKEN.replace('t', '%74', 1)}", "/callbacks/x/…"),
        (f"/callbacks/x?token={TOKEN}&a=1", "/callbacks/x?token=…&a=1"),
        (f"/callbacks/x/?a=1&token={TOKEN}&token=old", "/callbacks/x/?a=1&token=…&token=…"),
        ("/callbacks/x", "/callbacks/x"),
        ("/callbacks/x?tokens=1", "/callbacks/x?tokens=1"),
    ],
)
def test_tokens_are_left_out_wherever_they_are(target: str, kept: str) -> None:
    source = a_source("twilio", OLD, token=TOKEN)
    assert refused_by(source, target=target).target == kept


def test_what_an_address_was_refused_for_is_judged_by_the_networks_of_today() -> None:
    away = a_source("messente", OLD, allow_ips=(ip_network("198.51.100.0/24"),))
    refused = refused_by(away, reason="address_not_allowed")
    assert reason(reproof(away), refused) == "address_not_allowed"
    assert reproof(replace(away, allow_ips=(ip_network("192.0.2.0/24"),))).prove(refused).remote_ip == "192.0.2.7"


def test_what_a_proxy_was_not_trusted_for_is_read_again_with_those_of_today() -> None:
    source = a_source("messente", OLD, allow_ips=(ip_network("203.0.113.0/24"),))
    signed = refused_by(source)
    headers: Mapping[str, str] = {**signed.callback.headers, "x-forwarded-for": "203.0.113.9"}
    refused = signed._replace(
        reason="address_not_allowed", callback=replace_fields(signed.callback, headers=headers, remote_ip="10.0.0.1")
    )
    assert reason(reproof(source), refused) == "address_not_allowed"
    trusting = reproof(source, settings=Settings(trusted_proxies="10.0.0.0/8"))
    assert trusting.prove(refused).remote_ip == "203.0.113.9"


@pytest.mark.parametrize("target", ["/callbacks/nxcloud", "/callbacks/nxcloud?token=a-guess"])
def test_what_came_without_a_token_is_not_proven_by_one_that_the_source_has_since(target: str) -> None:
    before, today = a_source("nxcloud", OLD), a_source("nxcloud", token=TOKEN)
    forged = refused_by(before, target=target, headers={}, reason="unsigned")
    assert reason(reproof(today), forged) == "token_missing"
    explanation = reproof(today).explain(forged)
    assert (explanation.findings[-1].step, explanation.reason) == ("token", "token_missing")
    signed = refused_by(a_source("messente", OLD))
    assert reproof(a_source("messente", OLD, token=TOKEN)).prove(signed).id == signed.callback.id
    with_token = refused_by(replace(before, token=TOKEN), headers={}, reason="signature_missing")
    assert reproof(replace(today, token="an0ther-t0ken")).prove(with_token).id == with_token.callback.id


def test_nothing_is_proven_by_less_than_at_the_ingress() -> None:
    source = a_source("messente", OLD)
    unsigned = refused_by(source)
    headers = {"content-type": "application/json"}
    unsigned = unsigned._replace(callback=replace_fields(unsigned.callback, headers=headers))
    for today in (source, replace(source, token=TOKEN), replace(source, unsigned=True)):
        assert reason(reproof(today), unsigned) == "signature_missing"
    assert reason(reproof(replace(source, secrets=())), unsigned) == "unsigned"
    put = refused_by(source, method="PUT")
    assert reason(reproof(source), put) == "wrong_method"
    assert reason(reproof(replace(source, name="other")), unsigned) == "source_unknown"


# Explained


@pytest.mark.parametrize("provider", SIGNED_NOW)
def test_an_explanation_ends_as_the_proof_does(provider: str) -> None:
    wrong, right = a_source(provider, OTHER), a_source(provider, OTHER, OLD)
    refused = refused_by(wrong)
    still, now = reproof(wrong).explain(refused), reproof(right).explain(refused)
    assert (still.reason, still.mistakes) == ("signature_wrong", [])
    assert (now.reason, now.mistakes) == (None, [])
    assert [finding.step for finding in now.findings[:2]] == ["method", "address"]
    assert any("secret 2 of 2 made it" in finding.found for finding in now.findings)


def test_an_explanation_begins_with_what_the_ingress_judges_first() -> None:
    source = a_source("messente", OLD, allow_ips=(ip_network("198.51.100.0/24"),))
    (method, address) = reproof(source).explain(refused_by(source)).findings
    assert (method.reason, address.reason) == (None, "address_not_allowed")
    assert address.found == "one of allow_ips expected, 192.0.2.7 found"
    (method,) = reproof(source).explain(refused_by(source, method="PUT")).findings
    assert (method.found, method.reason) == ("POST or GET expected, PUT found", "wrong_method")


def test_the_mistakes_are_named_and_the_sources_of_the_same_provider_are_looked_through() -> None:
    source = a_source("messente", f'"{OLD}"')
    other = replace(source, name="other", secrets=(OTHER, OLD))
    first, second = reproof(source, other).explain(refused_by(source)).mistakes
    assert first == "secret 1 would do without the quotation marks around it: correct it in the configuration"
    assert second.startswith("secret 2 of other made the signature")


def test_bytes_of_another_release_are_no_refused_request() -> None:
    for packed in (b"", b"?", b"{}\n", b'{"reason":"x","target":"/","peer":null}\nx'):
        with pytest.raises(Malformed):
            Refused.unpacked(packed)


def test_a_request_of_any_bytes_is_kept_as_it_came() -> None:
    source = a_source("messente", OLD)
    body = bytes(range(256))
    refused = refused_by(source, body=body, headers={"content-type": "é\n\xff"}, target="/callbacks/x?\xe4")
    assert (refused.callback.body, refused.callback.headers, refused.target) == (
        body,
        {"content-type": "é\n\xff"},
        "/callbacks/x?\xe4",
    )
