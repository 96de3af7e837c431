"""What a worker's parent hands to its children."""

import os

import pytest

from workers.handover import Handover


def in_a_child(handover: Handover[object], asked: int) -> tuple[int, int]:
    """What a child forked now has taken after it was let go on."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(asked, 1)
        os.write(write, repr(handover.take() if handover.has_new() else None).encode())
        os._exit(0)
    os.close(write)
    return pid, read


def test_children_forked_before_and_after_take_the_latest_value(request: pytest.FixtureRequest) -> None:
    handover: Handover[object] = Handover()
    request.addfinalizer(handover.close)
    assert not handover.has_new()
    handover.give({"first": 1})
    asked, ask = os.pipe()
    before = in_a_child(handover, asked)
    assert handover.has_new()
    assert handover.take() == {"first": 1}
    assert not handover.has_new()
    handover.give({"second": 2} | {str(number): number for number in range(5000)})
    handover.give({"third": 3})
    after = in_a_child(handover, asked)
    os.write(ask, b"..")
    for pid, read in (before, after):
        os.waitpid(pid, 0)
        assert os.read(read, 100) == b"{'third': 3}"
    assert handover.take() == {"third": 3}
    assert not handover.has_new()


def test_a_value_for_which_there_is_no_room_leaves_the_one_before(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    handover: Handover[object] = Handover()
    request.addfinalizer(handover.close)
    handover.give("first")
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda *_: 3)
        with pytest.raises(OSError, match="No space left"):
            handover.give("second")
    assert handover.take() == "first"
