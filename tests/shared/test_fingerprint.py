"""What a secret is called where people look."""

import re
from dataclasses import replace

from shared.fingerprint import fingerprint, labels, of_sources, secret_labels
from shared.source import Source

FLEET = Source("fleet", "emnify", secrets=("new secret", "old secret"), token="a token")


def test_a_name_is_the_same_everywhere_and_says_nothing_else() -> None:
    assert fingerprint("fleet", "a secret") == "62b123"
    assert re.fullmatch("[0-9a-f]{6}", fingerprint("fleet", "\udcff é"))


def test_two_sources_with_one_secret_have_two_names_for_it() -> None:
    assert fingerprint("fleet", "a secret") != fingerprint("other", "a secret")
    assert fingerprint("fleet", "a secret") != fingerprint("fleet", "another")


def test_a_secret_keeps_its_name_when_another_is_put_before_it() -> None:
    newer, older = secret_labels(FLEET)
    assert labels(FLEET) == {"secret-1": newer, "secret-2": older, "token": "token", "unsigned": "unsigned"}
    assert secret_labels(replace(FLEET, secrets=("old secret",))) == [older]


def test_a_configuration_differs_by_everything_in_it_and_not_by_the_order_of_its_sources() -> None:
    other = Source("other", "emnify")
    assert of_sources([FLEET, other]) == of_sources([other, FLEET])
    changed = [
        replace(FLEET, secrets=("new secret",)),
        replace(FLEET, secrets=("old secret", "new secret")),
        replace(FLEET, token="another"),
        replace(FLEET, token=None),
        replace(FLEET, unsigned=True),
        replace(FLEET, a2p_max_digits=5),
        replace(FLEET, options={"public_url": "https://x"}),
        other,
    ]
    assert len({of_sources([each]) for each in (FLEET, *changed)}) == len(changed) + 1
