"""Read by every Python that has this folder on its path: in an ingress WAITAOF and WAIT then wait for no replica, and
answer as if all that were asked for had confirmed. A run with it shows what that costs."""

import sys
from collections.abc import Sequence
from typing import Any

if "ingress" in sys.orig_argv:
    from redis.asyncio.client import Pipeline

    _execute = Pipeline.execute

    def _confirmed(words: Sequence[Any], answer: Any) -> Any:
        """What the command would answer if every replica confirmed at once."""
        if words[0] == "WAITAOF":
            return [1, int(words[2])]
        return int(words[1]) if words[0] == "WAIT" else answer

    async def _execute_without_waiting(self: Any, *args: Any, **options: Any) -> Any:
        commands = [words for words, _ in self.command_stack]
        for index, (words, given) in enumerate(self.command_stack):
            if words[0] in ("WAIT", "WAITAOF"):
                self.command_stack[index] = (("ECHO", ""), given)
        answers = await _execute(self, *args, **options)
        return [_confirmed(*pair) for pair in zip(commands, answers, strict=True)]

    Pipeline.execute = _execute_without_waiting  # type: ignore[method-assign]
