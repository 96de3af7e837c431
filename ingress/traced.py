"""What makes traces of the ingress, in the place of what they trace: a span for each accepted request, from its arrival
to its answer, and one for each group. A refused request has none: strangers would fill the traces."""

from typing import TYPE_CHECKING, Any

import msgspec

from ingress.commit import Committer, Done
from ingress.keeper import Keeper
from shared.callback import Callback, traceparent_in
from shared.errors import Unavailable
from shared.inbox import Group

if TYPE_CHECKING:
    from shared.spans import Traces


class TracedCommitter(Committer):
    """A committer whose requests have spans."""

    def __init__(self, *args: Any, traces: "Traces") -> None:
        super().__init__(*args)
        self._traces = traces

    def commit(self, callback: Callback, done: Done) -> None:
        request = self._traces.request(callback.source, callback.received_at)

        def end(error: Unavailable | None) -> None:
            request.end("accepted" if error is None else "unavailable")
            done(error)

        try:
            super().commit(msgspec.structs.replace(callback, traceparent=request.traceparent), end)
        except Unavailable:
            request.end("unavailable")
            raise


class TracedKeeper(Keeper):
    """A keeper whose groups have spans."""

    def __init__(self, *args: Any, traces: "Traces") -> None:
        super().__init__(*args)
        self._traces = traces

    async def keep(self, group: Group) -> None:
        with self._traces.group("append", (traceparent_in(packed) for _, packed in group), len(group)) as span:
            await super().keep(group)
            span.set_attribute("callbox.spooled", self.is_redis_away)
