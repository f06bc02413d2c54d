"""The Grafana dashboard: every expression can be read by Prometheus and speaks of metrics that there are."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

from tests.integration.test_alerts import RULES
from tests.support.promtool import promtool

DASHBOARD: Any = json.loads((RULES.parents[1] / "grafana" / "vimmon.json").read_text())
DOCUMENT = (RULES.parents[2] / "docs" / "metrics.md").read_text()
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def test_prometheus_can_read_every_expression(tmp_path: Path) -> None:
    asked = [expression.replace("$__rate_interval", "5m") for expression in EXPRESSIONS]
    rules = [{"record": f"dashboard:{number}", "expr": expression} for number, expression in enumerate(asked)]
    file = tmp_path / "expressions.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert (done.returncode, f"{len(rules)} rules found" in done.stdout) == (0, True), done.stdout + done.stderr


def test_it_shows_every_metric_that_is_documented_and_no_other() -> None:
    used = {name for one in EXPRESSIONS for name in re.findall(r"\bvimmon_\w+", one)}
    without_suffix = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    documented = set(re.findall(r"^\| `(vimmon_\w+)", DOCUMENT, re.MULTILINE))
    assert without_suffix == documented - {"vimmon_conductor_info"}


def test_its_panels_have_numbers_and_places_of_their_own_and_ask_the_source_that_is_chosen() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = [one[a] + one[b] <= other[a] or other[a] + other[b] <= one[a] for a, b in (("x", "w"), ("y", "h"))]
        assert any(apart), (one, other)
    sources = {json.dumps(target["datasource"]) for panel in panels for target in panel.get("targets", [])}
    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource"]
