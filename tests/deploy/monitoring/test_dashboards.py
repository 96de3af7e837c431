"""The dashboards: what they ask for exists, and Grafana finds what it needs to draw it."""

import json
from collections import Counter

import pytest

from deploy.dashboards import DASHBOARDS, Dashboard, files
from shared.catalogue import CATALOGUE
from tests.deploy.monitoring.support import names_in, records, sample_names

DOCUMENTS = {path.stem: json.loads(text) for path, text in files().items()}
each = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)


@each
def test_a_query_names_metrics_of_the_catalogue_and_recorded_ones_only(dashboard: Dashboard) -> None:
    names = {name for query in dashboard.queries for name in names_in(query.expr)}
    names |= {variable.metric for variable in dashboard.variables}
    assert names - sample_names() - set(records()) == set()


def test_every_metric_is_on_a_dashboard_but_these() -> None:
    text = json.dumps(DOCUMENTS)
    assert {metric.name for metric in CATALOGUE if metric.name not in text} <= {
        "callbox_confirming_replicas",  # in most systems nothing has them
        "callbox_spool_oldest_seconds",
        "callbox_source_last_callback_timestamp_seconds",  # a recorded silence is shown instead
        "callbox_secret_info",
        "callbox_configuration_processes",  # `callbox status` has them
        "callbox_configuration_refused_processes",
        "callbox_quarantine_bytes",
    }


@each
def test_no_two_panels_are_in_one_place(dashboard: Dashboard) -> None:
    places: Counter[tuple[int, int]] = Counter()
    for panel in DOCUMENTS[dashboard.name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        places.update(
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        )
    assert max(places.values()) == 1


@each
def test_every_panel_says_what_it_shows_and_which_unit(dashboard: Dashboard) -> None:
    panels = [panel for panel in DOCUMENTS[dashboard.name]["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])
        assert panel["datasource"]["uid"] == "${datasource}"


@each
def test_a_variable_narrows_the_page(dashboard: Dashboard) -> None:
    text = json.dumps(DOCUMENTS[dashboard.name]["panels"])
    assert all(f'=~\\"${variable.label}\\"' in text for variable in dashboard.variables)
