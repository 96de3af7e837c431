"""Group commit: many requests share few appends, and each learns the truth about its own callback."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.commit import WAITING_GROUPS, Committer
from ingress.keeper import Keeper
from ingress.metrics import GROUP_SIZE
from shared.callback import Callback, pack, unpack
from shared.errors import Unavailable
from shared.inbox import Group
from shared.settings import Settings
from tests.ingress.conftest import AWAY, Inbox, a_callback, settle

SIZE = len(pack(a_callback(b"")))


class AppendsTo(Keeper):
    """A keeper without a spool."""

    most = (0, 0)

    def __init__(self, inbox: Inbox, count: int, size: int) -> None:
        self._to = inbox
        self.most = (count, size)

    async def keep(self, group: Group) -> None:
        await self._to.append(group)


def a_committer(inbox: Inbox, count: int = 500, size: int = 1 << 20, replicas: int = 0) -> Committer:
    settings = Settings(group_count=count, group_bytes=size, redis_wait_replicas=replicas)
    return Committer(AppendsTo(inbox, count, size), settings)


def bodies(inbox: Inbox) -> list[list[bytes]]:
    """The bodies of every append, each under the source of its callback."""
    groups = [[(source, unpack(packed)) for source, packed in group] for group in inbox.appended]
    assert all(source == callback.source for group in groups for source, callback in group)
    return [[callback.body for _, callback in group] for group in groups]


def commit(committer: Committer, callback: Callback) -> asyncio.Future[None]:
    """Done once the callback is on disk, with Unavailable when it could not be brought there."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: Unavailable | None) -> None:
        if ended.cancelled():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    try:
        committer.commit(callback, done)
    except Unavailable as error:
        done(error)
    return ended


def numbered(numbers: range) -> list[bytes]:
    return [b"%d" % number for number in numbers]


async def begin(committer: Committer, inbox: Inbox, begun: list[bytes]) -> list[asyncio.Future[None]]:
    """Commits callbacks with these bodies, and returns once all wait and the first append is under way."""
    tasks = [commit(committer, a_callback(body)) for body in begun]
    await inbox.asked.acquire()
    await settle()
    return tasks


async def ends(tasks: list[asyncio.Future[None]]) -> list[str]:
    """How each ended: `kept`, or the error that it got."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(result is None or isinstance(result, Unavailable | asyncio.CancelledError) for result in results)
    return ["kept" if result is None else str(result) or type(result).__name__ for result in results]


# Durable first (promise P1)


def test_nobody_is_answered_before_the_append_has_returned() -> None:
    async def check() -> None:
        inbox = Inbox(held=True)
        tasks = await begin(a_committer(inbox), inbox, numbered(range(3)))
        assert not any(task.done() for task in tasks)
        inbox.let_pass()
        assert await ends(tasks) == ["kept"] * 3
        assert bodies(inbox) == [numbered(range(3))]

    asyncio.run(check())


def test_nobody_of_the_next_group_is_answered_when_the_one_before_is_durable() -> None:
    async def check() -> None:
        inbox = Inbox(held=True)
        committer = a_committer(inbox)
        first = await begin(committer, inbox, [b"first"])
        second = [commit(committer, a_callback(b"second"))]
        await settle()
        inbox.let_pass(1)
        assert await ends(first) == ["kept"]
        await inbox.asked.acquire()
        await settle()
        assert not second[0].done()
        inbox.let_pass()
        assert await ends(second) == ["kept"]

    asyncio.run(check())


# Groups


def test_requests_that_come_together_share_one_append() -> None:
    async def check() -> None:
        inbox = Inbox()
        committer = a_committer(inbox)
        await asyncio.gather(*(commit(committer, a_callback(body)) for body in numbered(range(100))))
        assert bodies(inbox) == [numbered(range(100))]

    asyncio.run(check())


def test_what_comes_while_a_group_is_on_its_way_makes_the_next() -> None:
    async def check() -> None:
        inbox = Inbox(held=True)
        committer = a_committer(inbox)
        tasks = await begin(committer, inbox, numbered(range(1)))
        tasks += [commit(committer, a_callback(body)) for body in numbered(range(1, 100))]
        await settle()
        inbox.let_pass()
        assert await ends(tasks) == ["kept"] * 100
        assert bodies(inbox) == [numbered(range(1)), numbered(range(1, 100))]

    asyncio.run(check())


def test_where_replicas_confirm_two_groups_are_on_their_way_and_no_third() -> None:
    async def check() -> None:
        inbox = Inbox(held=True)
        committer = a_committer(inbox, replicas=1)
        tasks = await begin(committer, inbox, [b"first"])
        tasks += await begin(committer, inbox, [b"second"])
        tasks += [commit(committer, a_callback(body)) for body in numbered(range(3))]
        await settle()
        assert inbox.asked.locked(), "a third append would be under way"
        inbox.let_pass()
        assert await ends(tasks) == ["kept"] * 5
        assert bodies(inbox) == [[b"first"], [b"second"], numbered(range(3))]

    asyncio.run(check())


@pytest.mark.parametrize("errors", [(), (AWAY,)], ids=["kept", "refused"])
def test_who_is_answered_may_send_the_next_one_at_once(errors: tuple[Exception, ...]) -> None:
    async def check() -> None:
        inbox = Inbox(*errors)
        committer = a_committer(inbox)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def next_one(_: Unavailable | None) -> None:
            committer.commit(a_callback(b"second"), lambda _: answered.set_result(None))

        committer.commit(a_callback(b"first"), next_one)
        async with asyncio.timeout(20):
            await answered

    asyncio.run(check())


def test_requests_one_after_another_make_a_group_each() -> None:
    async def check() -> None:
        inbox = Inbox()
        committer = a_committer(inbox)
        for body in numbered(range(3)):
            await commit(committer, a_callback(body))
        assert bodies(inbox) == [[b"0"], [b"1"], [b"2"]]

    asyncio.run(check())


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60), st.integers(1, 20), st.integers(1, 4 * SIZE))
def test_every_callback_is_appended_once_in_order_and_no_group_is_larger_than_it_may(
    sizes: list[int], count: int, size: int
) -> None:
    async def check() -> None:
        inbox = Inbox()
        committer = a_committer(inbox, count, size)
        sent = [bytes([number]) + bytes(length) for number, length in enumerate(sizes)]
        ended = await asyncio.gather(*(commit(committer, a_callback(body)) for body in sent), return_exceptions=True)
        kept = [body for body, end in zip(sent, ended, strict=True) if end is None]
        assert kept
        assert [body for group in bodies(inbox) for body in group] == kept
        refused = [str(end) for end in ended if end is not None]
        assert refused == ["too many callbacks wait for the disk"] * len(refused)
        waiting = sum(len(pack(a_callback(body))) for body in kept)
        assert not refused or len(kept) >= WAITING_GROUPS * count or waiting >= WAITING_GROUPS * size
        for group, following in zip(inbox.appended, [*inbox.appended[1:], None], strict=True):
            held = sum(len(packed) for _, packed in group)
            assert len(group) <= count
            assert held <= size or len(group) == 1
            # Nor smaller than it could be.
            assert following is None or len(group) == count or held + len(following[0][1]) > size

    asyncio.run(check())


def test_the_size_of_every_group_is_measured() -> None:
    def measured() -> tuple[float, float]:
        samples = {sample.name: sample.value for metric in GROUP_SIZE.collect() for sample in metric.samples}
        return samples["callbox_group_callbacks_count"], samples["callbox_group_callbacks_sum"]

    async def check() -> None:
        committer = a_committer(Inbox(), count=2)
        await asyncio.gather(*(commit(committer, a_callback()) for _ in range(5)))

    groups, callbacks = measured()
    asyncio.run(check())
    assert measured() == (groups + 3, callbacks + 5)


# Callers that leave


def test_an_answer_that_fails_does_not_keep_the_others_from_theirs(log_entries: list[dict[str, Any]]) -> None:
    async def check() -> None:
        inbox = Inbox(held=True)
        committer = a_committer(inbox)
        before = await begin(committer, inbox, [b"before"])

        def fail(error: Unavailable | None) -> None:
            raise RuntimeError("the connection is gone")

        committer.commit(a_callback(b"fails"), fail)
        behind = commit(committer, a_callback(b"behind"))
        inbox.let_pass()
        assert await ends([*before, behind]) == ["kept"] * 2

    asyncio.run(check())
    assert [event["event"] for event in log_entries] == ["an answer failed"]


def test_a_request_that_is_cancelled_does_not_take_its_group_along() -> None:
    async def check() -> None:
        inbox = Inbox(held=True)
        committer = a_committer(inbox)
        on_its_way = await begin(committer, inbox, numbered(range(3)))
        waiting = [commit(committer, a_callback(body)) for body in numbered(range(3, 6))]
        await settle()
        on_its_way[0].cancel()  # the one whose commit began the append
        waiting[1].cancel()
        await settle()
        inbox.let_pass()
        assert await ends(on_its_way) == ["CancelledError", "kept", "kept"]
        assert await ends(waiting) == ["kept", "CancelledError", "kept"]
        kept = {body for group in bodies(inbox) for body in group}
        assert kept >= {b"0", b"1", b"2", b"3", b"5"}
        await commit(committer, a_callback(b"later"))
        assert bodies(inbox)[-1] == [b"later"]

    asyncio.run(check())


# Failures


@pytest.mark.parametrize(
    ("error", "said", "logged"),
    [
        (AWAY, str(AWAY), ["not durable"]),
        (RuntimeError("s3cret"), "the commit failed", ["commit failed", "not durable"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_group_that_fails_fails_all_who_wait_and_not_the_next(
    log_entries: list[dict[str, Any]], error: Exception, said: str, logged: list[str]
) -> None:
    async def check() -> None:
        inbox = Inbox(error, held=True)
        committer = a_committer(inbox)
        tasks = await begin(committer, inbox, numbered(range(2)))
        tasks += [commit(committer, a_callback(b"behind"))]
        await settle()
        inbox.let_pass()
        assert await ends(tasks) == [said] * 3
        assert inbox.appended == []
        await asyncio.gather(*(commit(committer, a_callback(body)) for body in (b"next", b"and next")))
        assert bodies(inbox) == [[b"next", b"and next"]]

    asyncio.run(check())
    assert [event["event"] for event in log_entries] == logged
    assert (log_entries[-1]["callbacks"], log_entries[-1]["why"]) == (3, said)


def test_a_cancelled_request_of_a_group_that_fails_stays_cancelled() -> None:
    async def check() -> None:
        inbox = Inbox(AWAY, held=True)
        tasks = await begin(a_committer(inbox), inbox, numbered(range(2)))
        tasks[0].cancel()
        await settle()
        inbox.let_pass()
        assert await ends(tasks) == ["CancelledError", str(AWAY)]

    asyncio.run(check())


def test_behind_too_many_full_groups_a_request_is_refused_at_once(log_entries: list[dict[str, Any]]) -> None:
    async def check() -> None:
        inbox = Inbox(held=True)
        committer = a_committer(inbox, count=2)
        tasks = await begin(committer, inbox, numbered(range(2)))  # under way: these wait no more
        tasks += [commit(committer, a_callback()) for _ in range(2 * WAITING_GROUPS)]
        await settle()
        with pytest.raises(Unavailable, match="too many callbacks wait"):
            await commit(committer, a_callback(b"one too many"))
        assert [(event["event"], event["why"]) for event in log_entries] == [
            ("not durable", "too many callbacks wait for the disk")
        ]
        inbox.let_pass()
        assert await ends(tasks) == ["kept"] * len(tasks)
        assert b"one too many" not in {body for group in bodies(inbox) for body in group}
        await commit(committer, a_callback(b"later"))

    asyncio.run(check())


def test_behind_too_many_bytes_a_request_is_refused_at_once() -> None:
    async def check() -> None:
        inbox = Inbox(held=True)
        committer = a_committer(inbox, size=SIZE + 1000)
        tasks = await begin(committer, inbox, [bytes(1000)])
        tasks += [commit(committer, a_callback(bytes(1000))) for _ in range(WAITING_GROUPS)]
        with pytest.raises(Unavailable, match="too many callbacks wait"):
            await commit(committer, a_callback())
        inbox.let_pass()
        assert await ends(tasks) == ["kept"] * len(tasks)
        await commit(committer, a_callback(b"later"))

    asyncio.run(check())
