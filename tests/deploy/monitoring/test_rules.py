"""deploy/monitoring/rules.yaml and alerts.yaml: what promtool says of them, and when each alert fires."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.deploy.monitoring.support import (
    FOLDER,
    RULE_FILES,
    alerts,
    groups,
    names_in,
    promtool,
    records,
    rules,
    sample_names,
)

HERE = Path(__file__).parent
STEP_MINUTES = 5  # of series over days: as long as Prometheus takes a value for a present one
DAY_MINUTES = 24 * 60
RUNBOOK = FOLDER.parents[1] / "docs" / "runbook.md"


def test_promtool_accepts_every_file() -> None:
    promtool("check", "rules", "--lint-fatal", *(str(FOLDER / name) for name in RULE_FILES))
    promtool("check", "config", "--lint-fatal", str(FOLDER / "prometheus.example.yaml"))


def test_a_rule_names_metrics_of_the_catalogue_and_recorded_ones_only() -> None:
    for rule in rules():
        unknown = names_in(rule["expr"]) - sample_names() - set(records()) - {"up"}
        assert not unknown, rule.get("alert") or rule["record"]


def test_every_recorded_series_is_used() -> None:
    used = {name for rule in rules() for name in names_in(rule["expr"])}
    dashboards = "".join(path.read_text() for path in (FOLDER / "dashboards").glob("*.json"))
    assert [name for name in records() if name not in used and name not in dashboards] == []


def test_every_alert_says_what_happened_how_urgent_that_is_and_where_to_read_on() -> None:
    assert len(alerts()) == sum("alert" in rule for rule in rules()), "a name is that of one alert"
    headings = re.findall(r"^## (Callbox\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert headings == list(alerts()), "in the same order"
    for name, rule in alerts().items():
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"https://callbox.example/runbook.md#{name.lower()}"


def test_every_alert_has_its_cases() -> None:
    cases = "".join((HERE / name).read_text() for name in ("alerts.test.yaml", "days.test.yaml"))
    assert [name for name in alerts() if name not in cases] == ["CallboxSourceSilent"], "which has cases below"


def only(name: str, folder: Path) -> Path:
    """A file with one alert and the recorded series that it needs: over days, every rule costs seconds."""
    wanted = names_in(alerts()[name]["expr"])
    for _ in records():
        wanted |= {each for record, rule in records().items() if record in wanted for each in names_in(rule["expr"])}
    path = folder / "rules.yaml"
    kept: list[dict[str, Any]] = [
        {
            **group,
            "rules": [rule for rule in group["rules"] if rule.get("alert") == name or rule.get("record") in wanted],
        }
        for group in groups()
    ]
    for number, group in enumerate(kept):
        group["name"] += str(number)
    path.write_text(yaml.safe_dump({"groups": kept}))
    return path


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    promtool("test", "rules", str(HERE / "alerts.test.yaml"))


@pytest.mark.parametrize("name", ["CallboxBudgetBurnsSlowly", "CallboxOldSecretUsed"])
def test_what_takes_days(name: str, tmp_path: Path) -> None:
    suite = yaml.safe_load((HERE / "days.test.yaml").read_text())
    suite["rule_files"] = [str(only(name, tmp_path))]
    suite["tests"] = [test for test in suite["tests"] if name in str(test)]
    assert suite["tests"]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(suite))
    promtool("test", "rules", str(tmp_path / "test.yaml"))


# The rhythms of sources. Minutes count from the beginning of a Monday.


class Heard(NamedTuple):
    """A source: how many callbacks come in each minute, and when the alert is to be seen first and last, if at all."""

    source: str
    callbacks: Callable[[int], int]
    fires: tuple[int, int] | None = None


def at(week: int, day: int, hour: float) -> int:
    """The minute of an hour of a day of a week; all begin at 0."""
    return int((week * 7 + day) * DAY_MINUTES + hour * 60)


END = at(3, 4, 0)


def by_day(minute: int) -> int:
    """Two callbacks in each minute from 7:00 to 22:00."""
    return 2 * (7 * 60 <= minute % DAY_MINUTES < 22 * 60)


def on_weekdays(minute: int) -> int:
    return by_day(minute) * (minute // DAY_MINUTES % 7 < 5)


def now_and_then(minute: int) -> int:
    """Three callbacks a day, at hours that are never the same."""
    day, rest = divmod(minute, DAY_MINUTES)
    return int(rest in ((day * 131) % 480, 480 + (day * 77) % 400, 960 + (day * 53) % 400))


def silent(callbacks: Callable[[int], int], since: int, until: int) -> Callable[[int], int]:
    return lambda minute: 0 if since <= minute < until else callbacks(minute)


def during(callbacks: Callable[[int], int], *times: tuple[int, int]) -> Callable[[int], int]:
    return lambda minute: callbacks(minute) if any(since <= minute < until for since, until in times) else 0


SOURCES = [
    # Two callbacks a minute, day and night: a few minutes are enough.
    Heard("always", silent(lambda minute: 2, at(2, 3, 2), at(2, 3, 5)), (at(2, 3, 2.25), at(2, 3, 5))),
    # An hour is enough where there are callbacks at that time of the week. At night and on Sundays it is no news.
    Heard("by-day", silent(by_day, at(2, 3, 10), at(2, 3, 15)), (at(2, 3, 11), at(2, 3, 15))),
    Heard("on-weekdays", silent(on_weekdays, at(3, 0, 0), at(3, 0, 12)), (at(3, 0, 8.25), at(3, 0, 12))),
    # As after a change of the clock.
    Heard("an-hour-later", lambda minute: by_day(minute - 60 * (minute > at(2, 2, 0)))),
    # Three times its longest gap, of 13 hours; and no longer after a week.
    Heard("now-and-then", silent(now_and_then, at(2, 4, 0), END), (at(2, 5, 9.25), at(3, 3, 17.5))),
    # Without a rhythm, or not known for long enough.
    Heard("never", lambda minute: 0),
    Heard("once", during(by_day, (at(0, 0, 10), at(0, 0, 10.25)))),
    Heard("two-campaigns", during(lambda minute: 50, (at(0, 2, 10), at(0, 2, 14)), (at(2, 3, 10), at(2, 3, 14)))),
    Heard("new-and-gone", during(by_day, (at(2, 1, 10), at(2, 3, 9)))),
]


def series(heard: Heard) -> Iterable[dict[str, str]]:
    """What beat shows of a source, at every step."""
    count, last = 0, 0
    counts, lasts = [], []
    for step in range(0, END, STEP_MINUTES):
        for minute in range(step - STEP_MINUTES, step):
            if came := heard.callbacks(minute):
                count, last = count + came, minute * 60 + 30
        counts.append(str(count))
        lasts.append(str(last))
    labels = f'{{source="{heard.source}"}}'
    yield {"series": f"callbox_appended_total{labels}", "values": " ".join(counts)}
    yield {"series": f"callbox_source_last_callback_timestamp_seconds{labels}", "values": " ".join(lasts)}


def firing(source: str, at_minute: int, *, expected: bool, hours: float = 0) -> dict[str, Any]:
    """Whether the alert fires at a minute, or fired within hours before."""
    labels = f'alertname="CallboxSourceSilent", alertstate="firing", severity="ticket", source="{source}"'
    over = f"max_over_time(ALERTS{{{labels}}}[{int(hours * 60)}m])" if hours else f"ALERTS{{{labels}}}"
    sample = {"labels": f"{'' if hours else 'ALERTS'}{{{labels}}}", "value": 1}
    return {"expr": over, "eval_time": f"{at_minute}m", "exp_samples": [sample] if expected else []}


def expectations(heard: Heard) -> Iterable[dict[str, Any]]:
    if heard.fires is None:
        yield firing(heard.source, END, expected=False, hours=END / 60)
        return
    since, until = heard.fires
    yield firing(heard.source, since, expected=False, hours=since / 60)
    yield firing(heard.source, since + 30, expected=True)
    yield firing(heard.source, until - STEP_MINUTES, expected=True)
    yield firing(heard.source, END, expected=False, hours=(END - until) / 60 - 0.5)


def test_a_source_that_falls_silent_against_its_rhythm_is_noticed_and_no_other(tmp_path: Path) -> None:
    suite = {
        "rule_files": [str(only("CallboxSourceSilent", tmp_path))],
        "evaluation_interval": f"{STEP_MINUTES}m",
        "tests": [
            {
                "interval": f"{STEP_MINUTES}m",
                "input_series": [each for heard in SOURCES for each in series(heard)],
                "promql_expr_test": [each for heard in SOURCES for each in expectations(heard)],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(suite))
    promtool("test", "rules", str(tmp_path / "test.yaml"))
