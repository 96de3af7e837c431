"""Example sources, one for each provider, as the files of the providers have them."""

import re
from collections.abc import Callable, Iterator

from shared.providers import PROVIDERS

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def sources() -> str:
    """A table for each provider, named like it. A secret is written as `${NAME}`."""
    return "\n".join(
        f'[sources.{name}]\nprovider = "{name}"\n{provider.EXAMPLE.strip()}\n' for name, provider in PROVIDERS.items()
    )


def variables() -> Iterator[tuple[str, list[str]]]:
    """Each provider, and the environment variables that its table names."""
    for name, provider in PROVIDERS.items():
        yield name, list(dict.fromkeys(_VARIABLE.findall(provider.EXAMPLE)))


def sources_with(value: Callable[[], str]) -> str:
    """The tables with a value in the place of each variable, and without their comments."""
    plain = re.sub(r"(?m)^# .*\n|[ \t]+# .*", "", sources())
    return _VARIABLE.sub(lambda _: value(), plain)
