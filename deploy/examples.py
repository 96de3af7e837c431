"""Example sources, one for each provider, as the files of the providers have them."""

import re
from collections.abc import Callable, Iterable, Iterator

from shared.providers import PROVIDERS

URL = "https://callbacks.example.com"  # in the place of an operator's own address

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def sources(names: Iterable[str] = PROVIDERS, url: str = URL) -> str:
    """A table for each of these providers, named like it. A secret is written as `${NAME}`; `url` is how the URLs begin
    that providers call."""
    examples = {name: PROVIDERS[name].EXAMPLE.strip().replace(URL, url) for name in names}
    return "\n".join(f'[sources.{name}]\nprovider = "{name}"\n{example}\n' for name, example in examples.items())


def variables(names: Iterable[str] = PROVIDERS) -> Iterator[tuple[str, list[str]]]:
    """Each of these providers, and the environment variables that its table names."""
    for name in names:
        yield name, list(dict.fromkeys(_VARIABLE.findall(PROVIDERS[name].EXAMPLE)))


def sources_with(value: Callable[[], str]) -> str:
    """The tables with a value in the place of each variable, and without their comments."""
    plain = re.sub(r"(?m)^# .*\n|[ \t]+# .*", "", sources())
    return _VARIABLE.sub(lambda _: value(), plain)
