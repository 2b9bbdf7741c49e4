"""The dashboard and the alerts ask for metrics that there are, and the documentation tells of all."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "contrib" / "grafana"
_NAME = re.compile(r"\bdj_queue_\w+")
_SUFFIXES = re.compile(r"_(total|bucket|sum|count)$")


def told():
    """The names of all metrics."""
    code = (ROOT / "dj_queue" / "contrib" / "prometheus.py").read_text()
    return set(re.findall(r'"(dj_queue_\w+)"', code))


def asked(expression):
    found = _NAME.findall(expression)
    assert found, expression
    names = told()
    return {name if name in names else _SUFFIXES.sub("", name) for name in found}


def test_the_dashboard_shows_metrics_that_there_are():
    dashboard = json.loads((FOLDER / "dj_queue.json").read_text())
    expressions = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    ]
    expressions += [
        each["definition"] for each in dashboard["templating"]["list"] if "definition" in each
    ]

    assert len(expressions) > 20
    for expression in expressions:
        assert asked(expression) <= told(), expression
        assert expression.count("(") == expression.count(")")


def test_alerts_ask_for_metrics_that_there_are_and_say_what_to_do():
    rules = yaml.safe_load((FOLDER / "prometheus-rules.yaml").read_text())["groups"][0]["rules"]

    assert len(rules) >= 6
    for rule in rules:
        assert asked(rule["expr"]) <= told(), rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert rule["annotations"]["action"]


def test_all_metrics_are_documented_and_all_that_are_documented_are_there():
    page = (ROOT / "docs" / "metrics.md").read_text()
    table = page[page.index("## What there is") : page.index("## What it costs")]
    documented = {
        re.sub(r"_(total|info)$", "", name) if name not in told() else name
        for name in re.findall(r"`(dj_queue_\w+)`", table)
    }

    assert documented == {re.sub(r"_info$", "", name) for name in told()}
