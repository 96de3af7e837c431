"""`callbox init`: the first configuration, with secrets of its own."""

import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from deploy import examples
from deploy.commands.errors import Failed
from deploy.local.files import write_new
from deploy.output import answer_to, write
from shared.config import DEFAULT_PATH
from shared.env_file import beside, read_env_file
from shared.providers import PROVIDERS

SECRET_BYTES = 20

_URL = re.compile(r"https?://[^/?#\s@]+(/[^/?#\s]+)*")
_NAMES = ", ".join(PROVIDERS)
_CONFIG = """\
# The sources of Callbox: each table is an account at a provider. Its name is in its URL: [sources.fleet] gets its
# callbacks at /callbacks/fleet, and with a token at /callbacks/fleet/TOKEN. ${NAME} is read from the environment, else
# from .env beside this file. `callbox check` shows what is wrong or missing, and a running `callbox up` reads both
# files again with `callbox reload`. docs/configuration.md has every key.
"""
_ENV = """\
# The secrets of callbox.toml. Whoever reads them can forge callbacks: keep this file to yourself.
"""


def _complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    return [name for name in PROVIDERS if name.startswith(begun)]


@click.command()
@click.argument("providers", metavar="[PROVIDER]...", nargs=-1, shell_complete=_complete)
@click.option(
    "--url",
    metavar="URL",
    help=f"How the URLs begin that providers call: your address, up to /callbacks.  [default: {examples.URL}]",
)
@click.option(
    "--config",
    "path",
    metavar="FILE",
    default=DEFAULT_PATH,
    type=click.Path(path_type=Path),
    help=f"What to write.  [default: ./{DEFAULT_PATH}]",
)
@click.option("--reveal", is_flag=True, help="Show URLs whole: some have a secret in them.")
def init(providers: tuple[str, ...], url: str | None, path: Path, reveal: bool) -> None:
    """Write a callbox.toml with a source of each PROVIDER, and a private .env with generated secrets.

    Nothing is written over: where one of the two is there already, both stay as they are. What follows is what to do in
    the console of each provider.
    """
    names = _chosen(providers or _asked())
    url = (url or examples.URL).removesuffix("/").removesuffix("/callbacks")
    if not _URL.fullmatch(url):
        raise click.BadParameter(
            "give the address that providers call, like https://sms.example.org", param_hint="--url"
        )
    env_file = beside(path)
    values = {name: secrets.token_hex(SECRET_BYTES) for each in names for name in PROVIDERS[each].CONSOLE.made}
    _write_both(path, f"{_CONFIG}\n{examples.sources(names, url)}", env_file, _env_text(names, values))
    write(f"wrote {path}, and {env_file} with generated secrets, which only you can read", "")
    for name in names:
        write(*_steps(name, url, env_file, values if reveal else {}), "")
    write(*_what_is_missing(names, url, env_file))
    write(
        "Then: callbox check, callbox up, and in a second terminal " + " or ".join(f"callbox send {n}" for n in names)
    )


def _asked() -> Sequence[str]:
    """The providers that the user names when asked. Raises UsageError where no one can be asked."""
    answer = answer_to(f"Which providers? ({_NAMES})")
    if answer is None:
        raise click.UsageError(f"name one or more providers: {_NAMES}")
    return re.split(r"[\s,]+", answer.strip())


def _chosen(names: Sequence[str]) -> list[str]:
    """Each once. Raises BadParameter, which names those that exist."""
    for name in names:
        if name not in PROVIDERS:
            raise click.BadParameter(f"there is no provider {name}, only {_NAMES}", param_hint="PROVIDER")
    return list(dict.fromkeys(names))


def _write_both(path: Path, config: str, env_file: Path, env: str) -> None:
    """Both or neither. Raises Failed."""
    try:
        for each in (path, env_file):
            if each.exists() or each.is_symlink():
                raise Failed(f"{each} is there already, and stays as it is: nothing was written")
        write_new(env_file, env, 0o600)
        try:
            write_new(path, config, 0o644)
        except OSError:
            env_file.unlink()
            raise
    except OSError as error:
        raise Failed(f"{error.filename or path}: cannot be written: {error.strerror}") from None


def _env_text(names: Sequence[str], values: Mapping[str, str]) -> str:
    return _ENV + "".join(
        f"\n# {name}\n" + "".join(f"# {_meaning(name, each)}\n{each}={values.get(each, '')}\n" for each in variables)
        for name, variables in examples.variables(names)
    )


def _meaning(provider: str, variable: str) -> str:
    console = PROVIDERS[provider].CONSOLE
    return f"made up here: {console.made[variable]}" if variable in console.made else console.given[variable]


def _steps(name: str, url: str, env_file: Path, shown: Mapping[str, str]) -> Iterator[str]:
    """What to do at a provider. `shown` are the values of variables that may be read here."""
    console = PROVIDERS[name].CONSOLE
    yield name
    token: str = tomllib.loads(PROVIDERS[name].EXAMPLE).get("token", "")
    end = f"/{shown.get(token.removeprefix('${').removesuffix('}'), token)}" if token else ""
    yield f"  URL     {url}/callbacks/{name}{end}{console.fragment}"
    yield f"  there   {console.place}"
    for each in dict(examples.variables([name]))[name]:
        yield f"  secret  {each} in {env_file}: {_meaning(name, each)}"


def _what_is_missing(names: Sequence[str], url: str, env_file: Path) -> Iterator[str]:
    for name, variables in examples.variables(names):
        for each in variables:
            if not (read_env_file(env_file, []) or {}).get(each):
                yield f"Missing: {each} in {env_file} has no value yet: {_meaning(name, each)}."
    if url == examples.URL:
        yield f"Missing: {url} is no address of yours: providers call your own, which --url gives here."
