"""callbox.toml and the environment: what may be written, and that every mistake is reported at once."""

import re
from collections.abc import Callable
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import config
from shared.config import Config, ConfigError
from shared.providers import PROVIDERS as REAL_PROVIDERS
from shared.settings import RULES, Rule, Settings, read_decimal, read_whole, variable
from shared.source import KEYS, Option, Source

SIGNING = SimpleNamespace(
    SIGNS=True,
    TIMEZONE="Asia/Shanghai",
    OPTIONS={
        "tolerance_seconds": Option(int, 300, "whole"),
        "factor": Option(float, 1.5, "any"),
        "strict": Option(bool, False, "choice"),
    },
)
SILENT = SimpleNamespace(SIGNS=False, TIMEZONE="UTC", OPTIONS={})
PROVIDERS: Any = {"signing": SIGNING, "silent": SILENT}
GOOD = '[sources.fleet]\nprovider = "signing"\nsecrets = ["s3cret"]\n'

Load = Callable[..., Config]


@pytest.fixture
def load(folder: Path) -> Load:
    def load(text: str, **environ: str) -> Config:
        path = folder / "callbox.toml"
        path.write_text(text, encoding="utf-8")
        return config.load(path, environ, PROVIDERS)

    return load


@pytest.fixture
def mistakes(load: Load, folder: Path) -> Callable[..., list[str]]:
    """The mistakes in a file, each without the file's path, which it must begin with."""

    def mistakes(text: str, **environ: str) -> list[str]:
        with pytest.raises(ConfigError) as error:
            load(text, **environ)
        prefix = f"{folder / 'callbox.toml'}: "
        assert str(error.value) == "\n".join(error.value.mistakes)
        assert all(mistake.startswith((prefix, "CALLBOX_")) for mistake in error.value.mistakes)
        return [mistake.removeprefix(prefix) for mistake in error.value.mistakes]

    return mistakes


def source(keys: str, provider: str = "signing", name: str = "fleet") -> str:
    return f'[sources.{name}]\nprovider = "{provider}"\n{keys}\n'


# What may be written


def test_a_source_has_the_defaults_of_its_provider(load: Load) -> None:
    assert load(GOOD).sources == {
        "fleet": Source(
            "fleet",
            "signing",
            secrets=("s3cret",),
            timezone=ZoneInfo("Asia/Shanghai"),
            options={"tolerance_seconds": 300, "factor": 1.5, "strict": False},
        )
    }


def test_every_key_of_a_source_is_read(load: Load) -> None:
    keys = """
        secrets = ["${NEW}", "old", "a-${NEW}-${OLD}"]
        token = "${TOKEN}"
        allow_ips = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"]
        unsigned = true
        timezone = "Europe/Tallinn"
        a2p_max_digits = 6
        tolerance_seconds = 60
        factor = 2
        strict = true
    """
    assert load(source(keys), NEW="n", OLD="o", TOKEN="A-z_0.9~").sources["fleet"] == Source(
        "fleet",
        "signing",
        secrets=("n", "old", "a-n-o"),
        token="A-z_0.9~",
        allow_ips=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"), ip_network("198.51.100.7/32")),
        unsigned=True,
        timezone=ZoneInfo("Europe/Tallinn"),
        a2p_max_digits=6,
        options={"tolerance_seconds": 60, "factor": 2, "strict": True},
    )


def test_the_variables_that_the_file_reads_are_named_and_no_others(load: Load) -> None:
    document = source('secrets = ["${NEW}", "a-${NEW}-${OLD}"]\ntimezone = "UTC"') + source(
        'token = "${TOKEN}"', "silent", name="second"
    )
    assert load(document, NEW="n", OLD="o", TOKEN="t", OTHER="x").variables == {"NEW", "OLD", "TOKEN"}


@pytest.mark.parametrize(
    ("keys", "provider"),
    [
        ('secrets = ["s"]', "signing"),
        ('token = "t"', "signing"),
        ('token = "t"', "silent"),
        ("unsigned = true", "signing"),
        ("unsigned = true", "silent"),
        ('secrets = ["s"]\ntoken = "t"', "signing"),
        ('secrets = ["s"]\nunsigned = true', "signing"),
    ],
)
def test_each_proof_will_do(load: Load, keys: str, provider: str) -> None:
    assert set(load(source(keys, provider)).sources) == {"fleet"}


def test_a_source_does_not_show_its_secrets(load: Load) -> None:
    shown = repr(load(source('secrets = ["s3cret"]\ntoken = "t0ken"')))
    assert "fleet" in shown
    assert "s3cret" not in shown
    assert "t0ken" not in shown


def test_the_file_is_the_one_given_then_that_of_the_environment_then_that_of_the_folder(folder: Path) -> None:
    for name in ("given", "named", "callbox"):
        (folder / f"{name}.toml").write_text(GOOD.replace("fleet", name))
    named = {"CALLBOX_CONFIG": str(folder / "named.toml")}
    for path, environ, expected in (
        (folder / "given.toml", named, "given"),
        (None, named, "named"),
        (None, {"CALLBOX_CONFIG": ""}, "callbox"),
        (None, {}, "callbox"),
    ):
        loaded = config.load(path, environ, PROVIDERS)
        assert set(loaded.sources) == {expected}
        assert loaded.path.stem == expected


# Mistakes in the file


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "has no source; add a table [sources.NAME] with a provider"),
        ("[sources]", "has no source; add a table [sources.NAME] with a provider"),
        ("sources = 1", "has no source; add a table [sources.NAME] with a provider"),
        ("[sources.fleet\n", "Expected ']' at the end of a table declaration (at line 1, column 15)"),
        (GOOD + "[source]\n", "source: unknown key; a source is a table [sources.NAME]"),
        (source("", "nobody"), "sources.fleet.provider: 'nobody' is not one of signing, silent"),
        ("[sources.fleet]\n", "sources.fleet.provider: is missing: one of signing, silent"),
        (
            source('secrets = ["s"]\nsecret = "s"'),
            f"sources.fleet.secret: unknown key; known are {', '.join([*KEYS, *SIGNING.OPTIONS])}",
        ),
        (
            source('token = "t"\nstrict = true', "silent"),
            f"sources.fleet.strict: unknown key; known are {', '.join(KEYS)}",
        ),
        (source('secrets = "s"'), "sources.fleet.secrets: must be a list"),
        (source('secrets = ["s", 5]'), "sources.fleet.secrets[1]: must be a text"),
        (source('secrets = ["s", ""]'), "sources.fleet.secrets[1]: is empty"),
        (source('secrets = ["${NONE}"]'), "sources.fleet.secrets[0]: the environment variable NONE is not set"),
        (source('secrets = ["${EMPTY}"]'), "sources.fleet.secrets[0]: the environment variable EMPTY is not set"),
        (source('secrets = ["s", "a${NONE}b"]'), "sources.fleet.secrets[1]: the environment variable NONE is not set"),
        (source("token = 5"), "sources.fleet.token: must be a text in quotes"),
        (source('token = ""'), "sources.fleet.token: is empty"),
        (source('token = "${NONE}"'), "sources.fleet.token: the environment variable NONE is not set"),
        (source('secrets = ["s"]\nunsigned = "yes"'), "sources.fleet.unsigned: must be true or false"),
        (source('secrets = ["s"]\na2p_max_digits = true'), "sources.fleet.a2p_max_digits: must be a whole number"),
        (source('secrets = ["s"]\na2p_max_digits = -1'), "sources.fleet.a2p_max_digits: -1 is not between 0 and 20"),
        (source('secrets = ["s"]\na2p_max_digits = 21'), "sources.fleet.a2p_max_digits: 21 is not between 0 and 20"),
        (source('secrets = ["s"]\ntolerance_seconds = 1.5'), "sources.fleet.tolerance_seconds: must be a whole number"),
        (source('secrets = ["s"]\nfactor = "x"'), "sources.fleet.factor: must be a number"),
        (source('secrets = ["s"]\nstrict = 1'), "sources.fleet.strict: must be true or false"),
        (
            source('secrets = ["s"]\nallow_ips = ["here"]'),
            "sources.fleet.allow_ips: 'here' does not appear to be an IPv4 or IPv6 network; for example 192.0.2.0/24",
        ),
        (
            source('secrets = ["s"]\nallow_ips = ["192.0.2.1/24"]'),
            "sources.fleet.allow_ips: 192.0.2.1/24 has host bits set; for example 192.0.2.0/24",
        ),
        (source('secrets = ["s"]\ntimezone = 8'), "sources.fleet.timezone: must be a text in quotes"),
        (source('token = "t"\nsecrets = ["s"]', "silent"), "sources.fleet.secrets: silent signs nothing; use a token"),
        (
            source("", name='"a b"'),
            "sources.a b: a name has up to 64 letters, digits, - and _, and begins with a letter or digit",
        ),
    ],
)
def test_a_mistake_names_its_place(mistakes: Callable[..., list[str]], text: str, mistake: str) -> None:
    assert mistake in mistakes(text, EMPTY="")


@pytest.mark.parametrize("name", ["Mars/Base", "Europe", "", "../etc/passwd", "/etc/passwd", "UTC ", "a\\u0000b"])
def test_a_time_zone_that_there_is_not_is_a_mistake(mistakes: Callable[..., list[str]], name: str) -> None:
    (mistake,) = mistakes(source(f'secrets = ["s"]\ntimezone = "{name}"'))
    assert mistake.startswith("sources.fleet.timezone: ")
    assert mistake.endswith(" is no time zone; for example Asia/Shanghai")


@pytest.mark.parametrize("keys", ["", "unsigned = false", "secrets = []", "secrets = []\nunsigned = false"])
@pytest.mark.parametrize(("provider", "means"), [("signing", "secrets or a token"), ("silent", "a token")])
def test_a_source_that_nothing_proves_is_a_mistake(
    mistakes: Callable[..., list[str]], keys: str, provider: str, means: str
) -> None:
    assert mistakes(source(keys, provider)) == [
        f"sources.fleet: nothing proves its callbacks: give {means} (or `unsigned = true` to accept anyone's)"
    ]


@pytest.mark.parametrize("keys", ['secrets = ["${NONE}"]', 'token = "${NONE}"', 'secrets = ["s", "${NONE}"]'])
def test_a_proof_that_is_not_set_is_one_mistake(mistakes: Callable[..., list[str]], keys: str) -> None:
    (mistake,) = mistakes(source(keys))
    assert mistake.endswith("the environment variable NONE is not set")


@pytest.mark.parametrize("token", ["a/b", "a b", "a?b", "a#b", "a%2fb", "ä", "a\nb"])
def test_a_token_that_no_url_can_hold_is_a_mistake_and_not_shown(
    mistakes: Callable[..., list[str]], token: str
) -> None:
    assert mistakes(source('token = "${TOKEN}"'), TOKEN=token) == [
        "sources.fleet.token: may hold letters, digits and . _ ~ - only, since it is a part of the URL"
    ]


@pytest.mark.parametrize("name", ["a", "9", "A-b_c", "a" * 64])
def test_a_name_that_a_url_can_hold(load: Load, name: str) -> None:
    assert set(load(source('secrets = ["s"]', name=name)).sources) == {name}


@pytest.mark.parametrize("name", ['""', '"a b"', '"-a"', '"_a"', '"a/b"', '"ä"', '"a:b"', "a" * 65])
def test_a_name_that_no_url_can_hold_is_a_mistake(mistakes: Callable[..., list[str]], name: str) -> None:
    (mistake,) = mistakes(source('secrets = ["s"]', name=name))
    assert re.match(r"sources\..*: a name has up to 64 letters", mistake)


def test_every_mistake_is_reported_at_once(mistakes: Callable[..., list[str]]) -> None:
    text = (
        source('secrets = ["${ONE}", "${TWO}"]\nunknown = 1\na2p_max_digits = 99', name="first")
        + source("", "nobody", name="second")
        + source("", "silent", name="third")
        + "[other]\n"
    )
    found = mistakes(text, CALLBOX_BODY_SECONDS="soon", CALLBOX_GROUP_COUNT="-1", CALLBOX_LOG_LEVEL="loud")
    places = [mistake.partition(": ")[0] for mistake in found]
    assert sorted(places) == [
        "CALLBOX_BODY_SECONDS",
        "CALLBOX_GROUP_COUNT",
        "CALLBOX_LOG_LEVEL",
        "other",
        "sources.first.a2p_max_digits",
        "sources.first.secrets[0]",
        "sources.first.secrets[1]",
        "sources.first.unknown",
        "sources.second.provider",
        "sources.third",
    ]


def test_a_source_that_is_no_table_is_a_mistake(mistakes: Callable[..., list[str]]) -> None:
    assert "sources.fleet: must be a table" in mistakes("[sources]\nfleet = 1\n")


def test_a_file_that_there_is_not_is_a_mistake(folder: Path) -> None:
    with pytest.raises(ConfigError) as error:
        config.load(None, {}, PROVIDERS)
    assert error.value.mistakes == [
        "callbox.toml: no such file here; name yours with CALLBOX_CONFIG, or --config of `callbox`"
    ]


def test_a_folder_in_the_place_of_the_file_is_a_mistake(folder: Path) -> None:
    with pytest.raises(ConfigError) as error:
        config.load(folder, {}, PROVIDERS)
    assert error.value.mistakes == [f"{folder}: cannot be read: Is a directory"]


def test_a_file_in_another_encoding_is_a_mistake(folder: Path) -> None:
    path = folder / "callbox.toml"
    path.write_bytes(b"# \xe4\n")
    with pytest.raises(ConfigError) as error:
        config.load(path, {}, PROVIDERS)
    assert error.value.mistakes == [f"{path}: is not UTF-8 (byte 2)"]


# Settings


NUMBERS = [setting for setting in fields(Settings) if setting.type is not str]
ABOVE_0 = [setting for setting in NUMBERS if setting.metadata["read"] in (read_whole, read_decimal)]


def test_without_an_environment_every_setting_has_its_default() -> None:
    assert config.load_settings({}) == Settings()
    assert config.load_settings({variable(setting.name): " " for setting in fields(Settings)}) == Settings()


def test_every_setting_has_a_meaning_and_its_unit_in_its_name() -> None:
    for setting in fields(Settings):
        assert setting.metadata["meaning"]
        assert setting.metadata["unit"]
    for setting in NUMBERS:
        assert setting.name.endswith((f"_{setting.metadata['unit']}", "_count", "_limit")), setting.name


def test_every_number_is_read_from_the_environment() -> None:
    plain = Settings()
    doubled = {setting.name: 2 * getattr(plain, setting.name) for setting in NUMBERS}  # the rules between them hold
    read = config.load_settings({variable(name): f" {number} " for name, number in doubled.items()})
    assert {name: getattr(read, name) for name in doubled} == doubled
    assert all(type(getattr(read, setting.name)) is setting.type for setting in NUMBERS)


def test_a_source_has_each_of_its_keys_and_its_providers_options() -> None:
    assert KEYS.keys() == {field.name for field in fields(Source)} - {"name", "options"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.larger}-{rule.smaller}")
def test_a_broken_rule_between_settings_says_what_to_write_instead(rule: Rule) -> None:
    least = rule.times * getattr(Settings(), rule.smaller)
    kind = type(getattr(Settings(), rule.larger))
    enough, too_little = kind(least), kind(least) - 1 if kind is int else least / 2
    kept = {variable(other.larger): str(enough) for other in RULES if other.larger == rule.larger}
    found = mistakes_in({variable(rule.larger): str(too_little)})
    assert [
        mistake for mistake in found if mistake.endswith(f"({rule.why})") and f" write {least:.12g} or more" in mistake
    ]
    assert not [mistake for mistake in mistakes_in(kept) if variable(rule.smaller) in mistake]


def mistakes_in(environ: dict[str, str]) -> list[str]:
    try:
        config.load_settings(environ)
    except ConfigError as error:
        return error.mistakes
    return []


def test_a_rule_with_a_setting_that_cannot_be_read_is_not_a_second_mistake() -> None:
    assert len(mistakes_in({"CALLBOX_STATEMENT_SECONDS": "soon", "CALLBOX_RECLAIM_SECONDS": "1"})) == 1


@pytest.mark.parametrize("setting", ABOVE_0, ids=lambda setting: setting.name)
@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf", "1,5", "9" * 5000], ids=lambda text: text[:9])
def test_a_number_that_will_not_do_is_a_mistake_with_its_meaning(setting: Any, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.load_settings({variable(setting.name): text})
    (mistake,) = error.value.mistakes
    assert mistake.startswith(f"{variable(setting.name)}: ")
    assert mistake.endswith(f"({setting.metadata['meaning']})")


def test_a_grace_may_be_none_but_neither_negative_nor_without_end() -> None:
    assert config.load_settings({"CALLBOX_STOP_GRACE_SECONDS": "0"}).stop_grace_seconds == 0
    for text in ("-1", "inf", "nan"):
        with pytest.raises(ConfigError, match=r"CALLBOX_STOP_GRACE_SECONDS: .* must be 0 or above and finite"):
            config.load_settings({"CALLBOX_STOP_GRACE_SECONDS": text})


def test_half_a_second_will_do_but_not_half_a_callback() -> None:
    assert config.load_settings({"CALLBOX_BODY_SECONDS": "0.5"}).body_seconds == 0.5
    with pytest.raises(ConfigError, match=r"CALLBOX_GROUP_COUNT: '0\.5' is not a whole number"):
        config.load_settings({"CALLBOX_GROUP_COUNT": "0.5"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CALLBOX_REDIS_URL", "redis://:pw@host:6379/1"),
        ("CALLBOX_REDIS_URL", "rediss://host"),
        ("CALLBOX_DATABASE_URL", "postgresql://user:pw@host/db?sslmode=require"),
        ("CALLBOX_DATABASE_URL", "postgres://host/db"),
        ("CALLBOX_LOG_LEVEL", "debug"),
    ],
)
def test_a_text_is_read_from_the_environment(name: str, text: str) -> None:
    assert getattr(config.load_settings({name: text}), name.removeprefix("CALLBOX_").lower()) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CALLBOX_REDIS_URL", "http://user:s3cret@host"),
        ("CALLBOX_REDIS_URL", "s3cret"),
        ("CALLBOX_DATABASE_URL", "mysql://user:s3cret@host"),
        ("CALLBOX_DATABASE_URL", "host=localhost password=s3cret"),
        ("CALLBOX_DATABASE_URL", "postgresql://user:s3cret/word@host/db"),
        ("CALLBOX_REDIS_URL", "redis://:s3cret/word@host/0"),
        ("CALLBOX_TRUSTED_PROXIES", "192.0.2.1/24"),
        ("CALLBOX_ADMIN_BIND", "127.0.0.1:65536"),
        ("CALLBOX_ADMIN_BIND", ":8001"),
        ("CALLBOX_LOG_LEVEL", "INFO"),
    ],
)
def test_a_text_that_will_not_do_is_a_mistake_that_shows_no_secret(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.load_settings({name: text})
    (mistake,) = error.value.mistakes
    assert mistake.startswith(f"{name}: ")
    assert "s3cret" not in mistake


def test_or_exit_gives_what_was_loaded() -> None:
    assert config.or_exit(lambda: 5) == 5


def test_or_exit_prints_each_mistake_on_a_line_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ConfigError(["one: first", "two\n\x1b[2J\u202e: second"])

    with pytest.raises(SystemExit) as exit_:
        config.or_exit(fail)
    assert exit_.value.code == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "one: first\ntwo\\n\\x1b[2J\\u202e: second\n")


@pytest.mark.parametrize(
    ("keys", "mistakes"),
    [
        ('secrets = ["s"]', ["sources.a.url: is missing: where it calls"]),
        ('secrets = ["s"]\nurl = "${PLACE}"', []),
        ('secrets = ["s"]\nurl = "${NOT_SET}"', ["sources.a.url: the environment variable NOT_SET is not set"]),
        ('token = "t"', []),
        ('token = "t"\nseconds = -1', ["sources.a.seconds: -1 must not be below 0"]),
        ('token = "t"\nseconds = "1"', ["sources.a.seconds: must be a whole number"]),
    ],
)
def test_a_providers_own_keys_are_read_and_required_where_signatures_are(
    tmp_path: Path, keys: str, mistakes: list[str]
) -> None:
    options = {
        "url": Option(str, None, "where it calls", required=True),
        "seconds": Option(int, 5, "how long it waits"),
    }
    demanding: Any = SimpleNamespace(SIGNS=True, TIMEZONE="UTC", OPTIONS=options)
    path = tmp_path / "callbox.toml"
    path.write_text(f'[sources.a]\nprovider = "demanding"\n{keys}\n')
    try:
        loaded = config.load(path, {"PLACE": "https://x"}, {"demanding": demanding})
    except ConfigError as error:
        assert error.mistakes == [f"{path}: {mistake}" for mistake in mistakes]
    else:
        assert mistakes == []
        assert loaded.sources["a"].options == {"url": "https://x" if "url" in keys else None, "seconds": 5}


# What was copied along, files, and names that nobody reads


@pytest.mark.parametrize("secret", ["s3cret\\n", " s3cret", "s3cret\\r\\n", "\\ufeffs3cret", "s3cret\\t"])
def test_a_secret_with_white_space_around_it_is_a_mistake_that_does_not_show_it(
    mistakes: Callable[..., list[str]], secret: str
) -> None:
    (mistake,) = mistakes(source(f'secrets = ["{secret}"]'))
    assert mistake.startswith("sources.fleet.secrets[0]: begins or ends with")
    assert "s3cret" not in mistake
    (mistake,) = mistakes(source('secrets = ["${SECRET}"]'), SECRET=secret.encode().decode("unicode_escape"))
    assert "s3cret" not in mistake


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_may_be_in_a_file(load: Load, folder: Path, end: str) -> None:
    (folder / "secret").write_bytes(f"s3cret{end}".encode())
    loaded = load(source(f'secrets = ["file:{folder}/secret"]\ntoken = "file:${{PLACE}}/secret"'), PLACE=str(folder))
    assert (loaded.sources["fleet"].secrets, loaded.sources["fleet"].token) == (("s3cret",), "s3cret")
    assert loaded.literal == frozenset()


def test_a_relative_path_begins_at_the_folder_of_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of `callbox up` have another working folder than whoever starts it."""
    (folder / "secret").write_text("s3cret-of-a-file")
    (folder / "callbox.toml").write_text('[sources.fleet]\nprovider = "emnify"\nsecrets = ["file:secret"]\n')
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    loaded = config.load(folder / "callbox.toml", {}, REAL_PROVIDERS)
    assert loaded.sources["fleet"].secrets == ("s3cret-of-a-file",)


@pytest.mark.parametrize(
    ("content", "says"), [(None, "cannot be read: No such file"), (b"\n", "is empty"), (b"\xff", "is not UTF-8")]
)
def test_a_file_without_a_secret_is_a_mistake_that_names_it(
    mistakes: Callable[..., list[str]], folder: Path, content: bytes | None, says: str
) -> None:
    if content is not None:
        (folder / "secret").write_bytes(content)
    (mistake,) = mistakes(source(f'secrets = ["file:{folder}/secret"]'))
    assert mistake.startswith(f"sources.fleet.secrets[0]: {folder}/secret {says}")


def test_a_secret_that_is_written_in_the_file_is_known(load: Load) -> None:
    assert load(GOOD + source('secrets = ["${SECRET}"]', name="other"), SECRET="x" * 20).literal == {"fleet"}


def test_a_misspelled_variable_is_a_mistake_that_names_the_nearest(mistakes: Callable[..., list[str]]) -> None:
    (mistake,) = mistakes(GOOD, CALLBOX_SPOL_DIR="x")
    assert mistake == "CALLBOX_SPOL_DIR: unknown variable; did you mean CALLBOX_SPOOL_DIR?"
    (mistake,) = mistakes(GOOD, CALLBOX_NOTHING_OF_OURS="x")
    assert mistake == "CALLBOX_NOTHING_OF_OURS: unknown variable; docs/configuration.md lists those that are known"


def test_variables_of_the_file_of_up_and_of_kubernetes_are_no_mistakes(load: Load) -> None:
    kubernetes = dict.fromkeys(
        ("CALLBOX_SERVICE_HOST", "CALLBOX_SERVICE_PORT_HTTP", "CALLBOX_PORT", "CALLBOX_PORT_8000_TCP_ADDR"), "x"
    )
    environ = {"CALLBOX_URL": "x", "CALLBOX_ADMIN_URL": "x", "CALLBOX_SECRET": "s3cret", **kubernetes}
    assert load(source('secrets = ["${CALLBOX_SECRET}"]'), **environ).sources["fleet"].secrets == ("s3cret",)


@pytest.mark.parametrize("name", ["CALLBOX_REDIS_URL", "CALLBOX_DATABASE_URL"])
@given(password=st.text(st.characters(exclude_categories=["Cs"]), min_size=8), at=st.sampled_from(["@host/1", "@host"]))
def test_a_password_in_a_url_is_read_whole_or_refused_and_not_shown(name: str, password: str, at: str) -> None:
    scheme = "redis" if "REDIS" in name else "postgresql"
    try:
        settings = config.load_settings({name: f"{scheme}://user:{password}{at}"})
    except ConfigError as error:
        with pytest.raises(ConfigError) as of_another:
            config.load_settings({name: f"{scheme}://user:a blank@host"})
        assert str(error) == str(of_another.value), "the same sentence, whatever the password"
        return
    found = urlsplit(settings.redis_url if "REDIS" in name else settings.database_url)
    assert (found.hostname, found.password) == ("host", password)


@pytest.mark.parametrize(
    ("url", "is_good"),
    [
        ("https://callbacks.example.com", True),
        ("https://callbacks.example.com:8443/behind/a/proxy/", True),
        ("callbacks.example.com", False),
        ("https://callbacks.example.com/callbacks/fleet", False),
        ("https://callbacks.example.com/?a=1", False),
    ],
)
def test_a_public_url_is_how_a_url_begins(tmp_path: Path, url: str, is_good: bool) -> None:
    path = tmp_path / "callbox.toml"
    path.write_text(f'[sources.a]\nprovider = "twilio"\nsecrets = ["s"]\npublic_url = "{url}"\n')
    if is_good:
        assert config.load(path, {}, REAL_PROVIDERS).sources["a"].options["public_url"] == url
        return
    with pytest.raises(ConfigError, match=r"sources\.a\.public_url: must be how the URL begins"):
        config.load(path, {}, REAL_PROVIDERS)


def test_to_read_stored_callbacks_no_secret_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "callbox.toml"
    path.write_text('[sources.fleet]\nprovider = "emnify"\nsecrets = ["${UNSET}"]\ntimezone = "Asia/Shanghai"\n')
    with pytest.raises(ConfigError):
        config.load(path, {}, REAL_PROVIDERS)
    source = config.load_to_read(path, {}, REAL_PROVIDERS)["fleet"]
    assert (source.provider, source.timezone.key, source.secrets) == ("emnify", "Asia/Shanghai", ())
    path.write_text('[sources.fleet]\nprovider = "nobody"\n')
    with pytest.raises(ConfigError):
        config.load_to_read(path, {}, REAL_PROVIDERS)
