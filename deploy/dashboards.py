"""The dashboards for Grafana in deploy/monitoring/dashboards/, which `make docs` writes: an overview, one for sources,
and one for workers. What a panel shows comes first, in the order of the page; how Grafana reads that is `_document`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

FOLDER = Path(__file__).parent / "monitoring" / "dashboards"

Unit = Literal["s", "cps", "percentunit", "short"]  # seconds, each second, a share, a number
Style = Literal["lines", "stacked", "number", "state"]  # a state is 1 or 0

_COLUMNS = 24  # of a row in Grafana
_NUMBER_HEIGHT, _LINES_HEIGHT = 4, 8
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Query(NamedTuple):
    """What is asked, and what its series are called: the labels in double braces are theirs."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """A picture. `limit` is the value from which on it is red: that of an alert, where there is one. `words` are those
    of a state: when it is 1, and when 0."""

    title: str
    meaning: str
    unit: Unit
    queries: Sequence[Query]
    style: Style = "lines"
    limit: float | None = None
    words: tuple[str, str] = ("yes", "no")


class Row(NamedTuple):
    title: str
    panels: Sequence[Panel]


class Variable(NamedTuple):
    """A label by which the page is narrowed, and the metric that has its values."""

    label: str
    metric: str


class Dashboard(NamedTuple):
    """A page. `name` is that of its file, and of its address in Grafana."""

    name: str
    title: str
    variables: Sequence[Variable]
    rows: Sequence[Row]

    @property
    def queries(self) -> list[Query]:
        """Of all panels."""
        return [query for row in self.rows for panel in row.panels for query in panel.queries]


def _rate(selector: str, *by: str) -> str:
    """How fast a counter rises, in each second."""
    return f"{_sum(*by)} (rate({selector}[$__rate_interval]))"


def _rising(selector: str, *by: str) -> str:
    """The same, of those series only that rise: where most are 0 on most days."""
    return f"{_rate(selector, *by)} > 0"


def _sum(*by: str) -> str:
    return f"sum by ({', '.join(by)})" if by else "sum"


def _quantiles(name: str, labels: str, *by: str) -> list[Query]:
    """The median and the 99th percentile of a histogram."""
    called = " ".join(f"{{{{{label}}}}}" for label in by)
    return [
        Query(
            f"histogram_quantile({share}, {_rate(f'{name}_bucket{labels}', 'le', *by)})",
            f"{word} {called}".strip(),
        )
        for share, word in ((0.5, "median"), (0.99, "99 %"))
    ]


def _sizes(name: str, labels: str) -> list[Query]:
    """The mean of a histogram of small numbers, whose median would be between two of them; and the 99th percentile."""
    _, high = _quantiles(name, labels)
    return [Query(f"{_rate(f'{name}_sum{labels}')} / {_rate(f'{name}_count{labels}')}", "mean"), high]


_INGRESS = '{instance=~"$instance"}'
_WORKER = '{instance=~"$instance"}'
_SOURCE = '{source=~"$source"}'
_REPORTS = '{kind="dr", source=~"$source"}'

OVERVIEW = Dashboard(
    "callbox-overview",
    "Callbox: overview",
    [Variable("instance", "callbox_open_connections")],
    [
        Row(
            "Now",
            [
                Panel(
                    "Redis",
                    "Whether Redis answered beat. While it is away, what is in it is not shown.",
                    "short",
                    [Query("min(callbox_redis_up)", "Redis")],
                    "state",
                    words=("answers", "away"),
                ),
                Panel(
                    "PostgreSQL",
                    "Whether PostgreSQL answered beat.",
                    "short",
                    [Query("min(callbox_postgres_up)", "PostgreSQL")],
                    "state",
                    words=("answers", "away"),
                ),
                Panel(
                    "As durable as promised",
                    "Whether no process found a demand on Redis, PostgreSQL or a spool unmet.",
                    "short",
                    [Query("min(callbox_durable)", "durable")],
                    "state",
                ),
                Panel(
                    "Oldest in the inbox",
                    "How long the oldest callback waits for a worker; those of held sources do not count.",
                    "s",
                    [Query("max(callbox_inbox_oldest_seconds)", "oldest")],
                    "number",
                    300,
                ),
                Panel(
                    "In spools",
                    "Callbacks on the disks of the ingresses, which Redis could not take.",
                    "short",
                    [Query("sum(callbox_spool_callbacks)", "spooled")],
                    "number",
                    1,
                ),
                Panel(
                    "Held sources",
                    "Sources that no worker drains, because we fail on them.",
                    "short",
                    [Query("sum(max by (source) (callbox_source_held))", "held")],
                    "number",
                    1,
                ),
                Panel(
                    "Open dead letters",
                    "What could not be understood, and waits to be replayed or discarded.",
                    "short",
                    [Query("sum(max by (source) (callbox_dead_letters_open))", "open")],
                    "number",
                    1,
                ),
                Panel(
                    "Ledger difference",
                    "Callbacks in the inbox, less those that must be there by the ledger.",
                    "short",
                    [Query("abs(max(callbox_ledger_difference_callbacks))", "difference")],
                    "number",
                    1,
                ),
            ],
        ),
        Row(
            "From the provider to the disk",
            [
                Panel(
                    "Requests",
                    "By how they ended. Refusals of all kinds are the caller's; `unavailable` is ours.",
                    "cps",
                    [Query(_rising(f"callbox_requests_total{_INGRESS}", "outcome"), "{{outcome}}")],
                    "stacked",
                ),
                Panel(
                    "Time to the acknowledgement",
                    "From the end of the body to the answer, durable commit included.",
                    "s",
                    _quantiles("callbox_acknowledge_seconds", _INGRESS),
                    limit=1,
                ),
                Panel(
                    "Not acknowledged",
                    "The share of proven callbacks that got a 503. The objective is 0.1 % at most, over a month.",
                    "percentunit",
                    [
                        Query("callbox:unacknowledged:ratio_rate5m", "5 minutes"),
                        Query("callbox:unacknowledged:ratio_rate1h", "1 hour"),
                        Query("callbox:unacknowledged:ratio_rate1d", "1 day"),
                    ],
                    limit=0.0144,
                ),
            ],
        ),
        Row(
            "From the inbox to the rows",
            [
                Panel(
                    "In the inbox",
                    "Callbacks that are acknowledged and not stored. Unread: no worker has taken them yet.",
                    "short",
                    [
                        Query("max(callbox_inbox_callbacks)", "all"),
                        Query("max(callbox_inbox_unread_callbacks)", "unread"),
                        Query("max(callbox_inbox_held_callbacks)", "of held sources"),
                    ],
                ),
                Panel(
                    "Age of the oldest",
                    "How long the oldest callback waits, of each shard, and of held sources.",
                    "s",
                    [
                        Query("max by (shard) (callbox_shard_oldest_seconds)", "shard {{shard}}"),
                        Query("max(callbox_inbox_held_oldest_seconds)", "of held sources"),
                    ],
                    limit=300,
                ),
                Panel(
                    "Appended and stored",
                    "By the ledger: what came into the inbox, and what is in PostgreSQL, by its outcome.",
                    "cps",
                    [
                        Query(_rate("callbox_appended_total"), "appended"),
                        Query(_rate("callbox_callbacks_total", "outcome"), "{{outcome}}"),
                    ],
                ),
                Panel(
                    "Shards",
                    "Callbacks in each shard of the inbox.",
                    "short",
                    [Query("max by (shard) (callbox_shard_callbacks)", "shard {{shard}}")],
                    "stacked",
                ),
                Panel(
                    "Lost, repaired, appended again",
                    "All are 0 on most days. Lost: Redis no longer knows what it had taken.",
                    "cps",
                    [
                        Query(_rate("callbox_lost_total"), "lost"),
                        Query(_rate("callbox_repaired_total"), "repaired"),
                        Query(_rate("callbox_repeats_total"), "appended again"),
                    ],
                ),
                Panel(
                    "Spools",
                    "Callbacks on the disk of each ingress, and those that all had last reported to Redis.",
                    "short",
                    [
                        Query(f"callbox_spool_callbacks{_INGRESS}", "{{instance}}"),
                        Query("sum(max by (source) (callbox_spooled_callbacks))", "reported"),
                    ],
                ),
            ],
        ),
        Row(
            "Ingresses",
            [
                Panel(
                    "Redis takes callbacks",
                    "1 while Redis takes those of an ingress, 0 while they go to its spool.",
                    "short",
                    [Query(f"callbox_ingress_redis_up{_INGRESS}", "{{instance}}")],
                ),
                Panel(
                    "Open connections",
                    "Connections of callers.",
                    "short",
                    [Query(f"callbox_open_connections{_INGRESS}", "{{instance}}")],
                    "stacked",
                ),
                Panel(
                    "Connections refused and ended",
                    "By the limit that was reached, and by what took too long or too much.",
                    "cps",
                    [
                        Query(_rising(f"callbox_connections_refused_total{_INGRESS}", "limit"), "refused: {{limit}}"),
                        Query(_rising(f"callbox_connections_ended_total{_INGRESS}", "why"), "ended: {{why}}"),
                    ],
                ),
                Panel(
                    "Callbacks of a group",
                    "Callbacks that shared one append and one fsync.",
                    "short",
                    _sizes("callbox_group_callbacks", _INGRESS),
                ),
                Panel(
                    "Unmet demands",
                    "What processes found about their servers that breaks a promise; /readyz has the sentences.",
                    "short",
                    [
                        Query("max by (what) (callbox_ingress_unmet_demands)", "ingress: {{what}}"),
                        Query("max by (what) (callbox_worker_unmet_demands)", "worker: {{what}}"),
                    ],
                    limit=1,
                ),
                Panel(
                    "Releases",
                    "Processes of each release of Callbox.",
                    "short",
                    [Query("count by (version) (callbox_build_info)", "{{version}}")],
                    "stacked",
                ),
            ],
        ),
    ],
)

SOURCES = Dashboard(
    "callbox-sources",
    "Callbox: sources",
    [Variable("source", "callbox_appended_total")],
    [
        Row(
            "What comes",
            [
                Panel(
                    "Requests",
                    "By how they ended.",
                    "cps",
                    [Query(_rising(f"callbox_requests_total{_SOURCE}", "outcome"), "{{outcome}}")],
                    "stacked",
                ),
                Panel(
                    "Refused",
                    "Requests that could not prove where they come from, by the reason.",
                    "cps",
                    [
                        Query(
                            _rising(f"callbox_refusals_total{_SOURCE}", "source", "reason"),
                            "{{source}}: {{reason}}",
                        )
                    ],
                ),
                Panel(
                    "Quarantine",
                    "Refused requests that are kept, and those a second that are not. `callbox refused explain last`"
                    " shows why a request was refused.",
                    "short",
                    [
                        Query(f"callbox_quarantine_requests{_SOURCE}", "{{source}}: kept"),
                        Query(
                            _rising(f"callbox_quarantine_kept_total{_SOURCE}", "source"), "{{source}}: more a second"
                        ),
                        Query(
                            _rising(f"callbox_quarantine_dropped_total{_SOURCE}", "source", "reason"),
                            "{{source}}: not kept: {{reason}}",
                        ),
                    ],
                ),
                Panel(
                    "Proofs",
                    "What proved the callbacks; during a rotation the old secret comes to rest.",
                    "cps",
                    [Query(_rate(f"callbox_proofs_total{_SOURCE}", "source", "proof"), "{{source}}: {{proof}}")],
                ),
                Panel(
                    "Silence",
                    "The time since the latest callback, and the longest gap of two weeks. CallboxSourceSilent compares"
                    " them.",
                    "s",
                    [
                        Query(f"callbox:source_silence_seconds{_SOURCE}", "{{source}}"),
                        Query(f"callbox:source_gap_seconds:max2w{_SOURCE}", "{{source}}: longest"),
                    ],
                ),
                Panel(
                    "Time to the acknowledgement",
                    "From the end of the body to the answer, durable commit included.",
                    "s",
                    _quantiles("callbox_acknowledge_seconds", _SOURCE, "source"),
                    limit=1,
                ),
                Panel(
                    "Delay of the provider",
                    "From the provider's own time of an event to the arrival of its callback.",
                    "s",
                    _quantiles("callbox_provider_delay_seconds", _SOURCE, "source"),
                ),
            ],
        ),
        Row(
            "What is in it",
            [
                Panel(
                    "Callbacks",
                    "What is in PostgreSQL, by outcome.",
                    "cps",
                    [Query(_rate(f"callbox_callbacks_total{_SOURCE}", "outcome"), "{{outcome}}")],
                    "stacked",
                ),
                Panel(
                    "Delivery reports",
                    "New events of kind `dr`, by status.",
                    "cps",
                    [Query(_rising(f"callbox_events_total{_REPORTS}", "status"), "{{status}}")],
                    "stacked",
                ),
                Panel(
                    "Inbound messages",
                    "New events of kind `mo`, by what their text asks for.",
                    "cps",
                    [Query(_rate(f"callbox_intents_total{_SOURCE}", "intent"), "{{intent}}")],
                    "stacked",
                ),
                Panel(
                    "Duplicates and conflicts",
                    "Callbacks that brought nothing new, and those that contradict what is stored.",
                    "cps",
                    [
                        Query(_rising(f"callbox_duplicates_total{_SOURCE}", "source"), "{{source}}: duplicates"),
                        Query(_rising(f"callbox_conflicts_total{_SOURCE}", "source"), "{{source}}: conflicts"),
                        Query(_rising(f"callbox_repeats_total{_SOURCE}", "source"), "{{source}}: appended again"),
                    ],
                ),
                Panel(
                    "Oddities",
                    "What was repaired, contradicted itself or is not documented: a provider changes its format.",
                    "cps",
                    [Query(_rate(f"callbox_oddities_total{_SOURCE}", "source", "what"), "{{source}}: {{what}}")],
                ),
                Panel(
                    "Time to the row",
                    "From the arrival of a callback to its commit in PostgreSQL.",
                    "s",
                    _quantiles("callbox_stored_seconds", _SOURCE, "source"),
                ),
            ],
        ),
        Row(
            "What is left over",
            [
                Panel(
                    "Open dead letters",
                    "What could not be understood, and waits to be replayed or discarded.",
                    "short",
                    [Query(f"max by (source) (callbox_dead_letters_open{_SOURCE})", "{{source}}")],
                    limit=1,
                ),
                Panel(
                    "New dead letters",
                    "By where the callback or the event failed.",
                    "cps",
                    [
                        Query(
                            _rising(f"callbox_dead_letters_total{_SOURCE}", "source", "stage"), "{{source}}: {{stage}}"
                        )
                    ],
                ),
                Panel(
                    "Replayed",
                    "Callbacks to which a replay gave another outcome.",
                    "cps",
                    [
                        Query(
                            _rising(f"callbox_replayed_total{_SOURCE}", "source", "outcome"), "{{source}}: {{outcome}}"
                        )
                    ],
                ),
                Panel(
                    "Held",
                    "1 for a source that no worker drains, because we fail on it.",
                    "short",
                    [Query(f"max by (source) (callbox_source_held{_SOURCE})", "{{source}}")],
                    limit=1,
                ),
                Panel(
                    "In spools",
                    "Callbacks on the disks of the ingresses, as these last reported to Redis.",
                    "short",
                    [Query(f"max by (source) (callbox_spooled_callbacks{_SOURCE})", "{{source}}")],
                    "stacked",
                    1,
                ),
            ],
        ),
    ],
)

WORKERS = Dashboard(
    "callbox-workers",
    "Callbox: workers",
    [Variable("instance", "callbox_drains_total")],
    [
        Row(
            "Drains",
            [
                Panel(
                    "Drains",
                    "By what ended them: the inbox was empty, their time was up, or what failed.",
                    "cps",
                    [Query(_rising(f"callbox_drains_total{_WORKER}", "end"), "{{end}}")],
                    "stacked",
                ),
                Panel(
                    "Processes that drain",
                    "Children of each worker.",
                    "short",
                    [Query(f"callbox_worker_children{_WORKER}", "{{instance}}")],
                    "stacked",
                ),
                Panel(
                    "Unmet demands",
                    "What workers found about their servers that breaks a promise; their logs have the sentences.",
                    "short",
                    [Query(f"callbox_worker_unmet_demands{_WORKER}", "{{instance}}: {{what}}")],
                    limit=1,
                ),
            ],
        ),
        Row(
            "Batches",
            [
                Panel(
                    "Time of a batch",
                    "From its first statement to its acknowledgement in the inbox, waits for PostgreSQL included.",
                    "s",
                    _quantiles("callbox_batch_seconds", _WORKER),
                ),
                Panel(
                    "Callbacks of a batch",
                    "Callbacks that were stored in one transaction.",
                    "short",
                    _sizes("callbox_batch_callbacks", _WORKER),
                ),
                Panel(
                    "Callbacks stored",
                    "By each worker.",
                    "cps",
                    [Query(_rate(f"callbox_batch_callbacks_sum{_WORKER}", "instance"), "{{instance}}")],
                    "stacked",
                ),
                Panel(
                    "Time to the row",
                    "From the arrival of a callback to its commit in PostgreSQL.",
                    "s",
                    _quantiles("callbox_stored_seconds", _WORKER),
                ),
                Panel(
                    "Events",
                    "New ones, by kind: `mo` is an inbound message, `dr` a delivery report.",
                    "cps",
                    [Query(_rate(f"callbox_events_total{_WORKER}", "kind"), "{{kind}}")],
                    "stacked",
                ),
                Panel(
                    "New dead letters",
                    "By where the callback or the event failed.",
                    "cps",
                    [Query(_rising(f"callbox_dead_letters_total{_WORKER}", "stage"), "{{stage}}")],
                ),
            ],
        ),
    ],
)

DASHBOARDS: Sequence[Dashboard] = (OVERVIEW, SOURCES, WORKERS)


def files() -> dict[Path, str]:
    """Every dashboard as Grafana reads it, by its file."""
    return {
        FOLDER / f"{dashboard.name}.json": json.dumps(_document(dashboard), indent=2, ensure_ascii=False) + "\n"
        for dashboard in DASHBOARDS
    }


def _document(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.name,
        "title": dashboard.title,
        "tags": ["callbox"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # the pictures share the place of the pointer
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "links": [
            {
                "title": "Callbox",
                "type": "dashboards",
                "tags": ["callbox"],
                "asDropdown": False,
                "includeVars": False,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        "annotations": {"list": [_alerts()]},
        "templating": {"list": [_datasource(), *map(_variable, dashboard.variables)]},
        "panels": list(_panels(dashboard.rows)),
    }


def _alerts() -> dict[str, Any]:
    """Draws into every picture when an alert fired."""
    return {
        "name": "Alerts",
        "datasource": _DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Callbox.+", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{source}}",
    }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
        "includeAll": False,
        "multi": False,
    }


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.label})"
    return {
        "name": variable.label,
        "label": variable.label,
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "values"},
        "refresh": 2,  # whenever the time changes
        "sort": 1,
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _panels(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """The rows from top to bottom, the panels of each from left to right."""
    top, number = 0, 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
        }
        top, left = top + 1, 0
        height = 0
        for panel in row.panels:
            number += 1
            width = _COLUMNS // 8 if panel.style in ("number", "state") else _COLUMNS // 3
            if left + width > _COLUMNS:
                top, left = top + height, 0
            height = _NUMBER_HEIGHT if panel.style in ("number", "state") else _LINES_HEIGHT
            yield _panel(panel, number, {"x": left, "y": top, "w": width, "h": height})
            left += width
        top += height


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    is_number = panel.style in ("number", "state")
    return {
        "id": number,
        "type": "stat" if is_number else "timeseries",
        "title": panel.title,
        "description": panel.meaning,
        "gridPos": dict(place),
        "datasource": _DATASOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "editorMode": "code",
                "range": not is_number,
                "instant": is_number,
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _number_field(panel) if is_number else _lines_field(panel), "overrides": []},
        "options": _NUMBER_OPTIONS if is_number else _LINES_OPTIONS,
    }


_NUMBER_OPTIONS = {
    "colorMode": "background",
    "graphMode": "none",
    "justifyMode": "center",
    "orientation": "auto",
    "textMode": "value",
    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
}
_LINES_OPTIONS = {
    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
    "tooltip": {"mode": "multi", "sort": "desc"},
}


def _number_field(panel: Panel) -> dict[str, Any]:
    field: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": "thresholds"},
        "mappings": [],
        "noValue": "not known",
    }
    if panel.style == "state":
        is_so, is_not = ({"text": word, "index": index} for index, word in enumerate(panel.words))
        field["mappings"] = [{"type": "value", "options": {"1": is_so, "0": is_not}}]
        field["thresholds"] = _thresholds(("red", None), ("green", 1))
    else:
        field["thresholds"] = _thresholds(("green", None), ("red", panel.limit))
    return field


def _lines_field(panel: Panel) -> dict[str, Any]:
    is_stacked = panel.style == "stacked"
    field: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "palette-classic"},
        "custom": {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if is_stacked else 0,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if is_stacked else "none", "group": "A"},
        },
    }
    if panel.limit is not None:
        field["thresholds"] = _thresholds(("transparent", None), ("red", panel.limit))
        field["custom"]["thresholdsStyle"] = {"mode": "dashed"}
    return field


def _thresholds(*steps: tuple[str, float | None]) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in steps]}
