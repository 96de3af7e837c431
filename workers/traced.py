"""What makes traces of the workers, in the place of what it traces: a span for each batch, from its first statement to
its result."""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from workers.database import Database
from workers.drain.read import Parsed
from workers.drain.store import Pending, Store

if TYPE_CHECKING:
    from shared.spans import Traces


class TracedStore(Store):
    """A store whose batches have spans."""

    def __init__(self, database: Database, traces: "Traces") -> None:
        super().__init__(database)
        self._traces = traces

    def begin(self, batch: Sequence[Parsed]) -> Pending:
        return _TracedPending(self, batch, self._traces)

    def close(self) -> None:
        super().close()
        self._traces.close()


class _TracedPending(Pending):
    def __init__(self, store: Store, batch: Sequence[Parsed], traces: "Traces") -> None:
        self._span = ExitStack()
        if batch:
            traceparents = (parsed.callback.traceparent for parsed in batch)
            self._span.enter_context(traces.group("batch", traceparents, len(batch)))
        super().__init__(store, batch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, traceback)
        finally:
            self._span.__exit__(kind, error, traceback)
