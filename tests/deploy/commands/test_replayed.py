"""What `callbox dead-letters replay` and `discard` report."""

import pytest

from deploy.commands.replayed import Replayed, show_counts
from workers.replay import Change

STORED = Change("not JSON", "stored")
STILL_DEAD = Change("unknown [red] kind", "still dead: unknown kind")


def replayed(dry: bool = False) -> Replayed:
    found = Replayed(dry, closed={7: "discarded"})
    found.add([STORED, STILL_DEAD])
    found.add([STORED])
    found.add([])  # a callback whose dead letters another run replayed
    return found


def test_programs_get_the_counts_of_each_change() -> None:
    assert replayed().document() == {
        "dry": False,
        "callbacks": 2,
        "letters": [
            {"reason": "not JSON", "became": "stored", "letters": 2},
            {"reason": "unknown [red] kind", "became": "still dead: unknown kind", "letters": 1},
        ],
        "closed": {7: "discarded"},
    }


@pytest.mark.parametrize(
    ("dry", "is_whole", "last"),
    [
        (False, True, "2 callbacks replayed"),
        (True, True, "dry run, nothing was changed: 2 callbacks would be replayed"),
        (False, False, "1  unknown [red] kind  still dead: unknown kind"),
    ],
)
def test_people_get_a_table_and_a_sentence_unless_it_was_interrupted(
    capsys: pytest.CaptureFixture[str], dry: bool, is_whole: bool, last: str
) -> None:
    replayed(dry).show(is_whole)
    closed, headings, _, stored, *_, end = capsys.readouterr().out.splitlines()
    assert closed == "7 is discarded already"
    assert headings.split() == ["dead", "letters", "reason", "became"]
    assert stored.split() == ["2", "not", "JSON", "stored"]
    assert end.strip() == last


def test_nothing_that_matches_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    show_counts(("dead letters", "reason"), [], {}, "discarded")
    assert capsys.readouterr().out == "no open dead letters match\n"
