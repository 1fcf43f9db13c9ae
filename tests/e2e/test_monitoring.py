# SPDX-License-Identifier: Apache-2.0
"""Prometheus rules and the Grafana dashboard name only metrics that a node prints."""
import json
import os
import re

from lib import ROOT, Fixture, expect, log, test

FOLDER = os.path.join(ROOT, "packaging/monitoring")
# What may stand in an expression besides metrics and labels.
WORDS = {"changes", "increase", "rate", "max", "sum", "by", "instance", "code", "and", "or", "up",
         "job", "predict_linear", "avg_over_time", "label_values", "m", "h"}


def rule_fields(text):
    """The rules of the file as dictionaries. The file keeps to one field a line, so that this is
    all that must be known of YAML; any other line fails."""
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#") or line in (
                "groups:", "  - name: hongbao", "    rules:", "        labels:",
                "        annotations:"):
            continue
        found = re.fullmatch(r"(?:      - |        |          )(alert|expr|for|severity|summary): (.+)", line)
        expect(found, "line", number, "of the rules is not understood:", line)
        key, value = found.groups()
        if key == "alert":
            rules.append({})
        expect(key not in rules[-1], "line", number, "repeats", key)
        rules[-1][key] = value
    return rules


def names(expression):
    """The metrics of an expression; fails on a word that is none and no known function."""
    bare = re.sub(r"\{[^}]*\}", "", expression)
    found = set()
    for word in re.findall(r"[A-Za-z_][A-Za-z0-9_]*", bare):
        if word.startswith("hongbao_"):
            found.add(word)
        else:
            expect(word in WORDS, "unknown word", word, "in", expression)
    return found


@test
def prometheus_rules_and_the_dashboard_name_only_metrics_that_a_node_prints():
    with open(os.path.join(FOLDER, "hongbao-rules.yaml")) as f:
        rules = rule_fields(f.read())
    with open(os.path.join(FOLDER, "hongbao-dashboard.json")) as f:
        dashboard = json.load(f)
    printed = {name.partition("{")[0] for name in Fixture.shared().metrics()}
    for rule in rules:
        expect({"alert", "expr", "severity", "summary"} <= set(rule), "a field is missing:", rule)
        expect(rule["expr"].count("(") == rule["expr"].count(")"), "brackets:", rule)
        expect(re.fullmatch(r'"[^"]*"', rule["summary"]), "not quoted:", rule)
    expect(len({rule["alert"] for rule in rules}) == len(rules), "an alert comes twice")
    used = set().union(*(names(rule["expr"]) for rule in rules))
    places = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        expect(place["x"] + place["w"] <= 24 and (place["x"], place["y"]) not in places,
               "panels overlap:", panel["title"])
        places.add((place["x"], place["y"]))
        for target in panel["targets"]:
            used |= names(target["expr"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            used |= names(variable["query"])
    log(len(rules), "rules and", len(dashboard["panels"]), "panels use", len(used), "metrics of",
        len(printed))
    expect(used <= printed, "a node does not print", sorted(used - printed))
