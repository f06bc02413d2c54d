"""The alert rules, evaluated by promtool: silent where all is well; each fires where it should, and says for what."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.promtool import promtool

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yml"
FIRING = 'ALERTS{alertstate="firing"}'
WELL = {
    'vimmon_up{instance="a",part="redis"}': "1x60",
    'vimmon_up{instance="b",part="redis"}': "0x60",  # another conductor reaches it
    'vimmon_up{instance="a",part="database"}': "1x60",
    'vimmon_conductors{instance="a"}': "2x60",
    'vimmon_executors{instance="a"}': "1x60",
    'vimmon_reconcile_age_seconds{instance="a"}': "100x60",
    'vimmon_reconcile_age_seconds{instance="b"}': "150x60",  # read a little earlier
    'vimmon_vims{instance="a",status="REACHABLE"}': "5000x60",
    'vimmon_vims{instance="a",status="UNREACHABLE"}': "150x60",
    'vimmon_vims{instance="b",status="UNREACHABLE"}': "150x60",
    'vimmon_vim_not_reachable_seconds{instance="a",vim_id="v",name="tokyo",status="UNREACHABLE"}': "60x60",
    'vimmon_vim_not_reachable_seconds{instance="a",vim_id="w",name="osaka",status="PENDING"}': "600x60",
    'vimmon_certificate_expiry_timestamp_seconds{instance="a",vim_id="v",name="tokyo"}': f"{15 * 86400}x60",
    'vimmon_prober_degraded{instance="a",executor="e"}': "0x60",
    'vimmon_requests_waiting{instance="a"}': "1000x60",
    'vimmon_requests_dead{instance="a"}': "0x60",
    'vimmon_jobs{instance="a",state="failed"}': "0x60",
    'vimmon_tacker_vims{instance="a",state="missing"}': "0x60",
    'vimmon_tacker_failures{instance="a"}': "0x60",
    'vimmon_tacker_list_age_seconds{instance="a"}': "180x60",
    'vimmon_tacker_interval_seconds{instance="a"}': "60x60",
    'vimmon_jobs{instance="a",state="queued"}': "9000x60",
    'vimmon_probe_lag_seconds_bucket{instance="a",executor="e",cause="schedule",le="1"}': "0+100x60",
    'vimmon_probe_lag_seconds_bucket{instance="a",executor="e",cause="schedule",le="5"}': "0+101x60",
    'vimmon_probe_lag_seconds_bucket{instance="a",executor="e",cause="schedule",le="+Inf"}': "0+101x60",
}
VIM = {"vim_id": "v", "name": "tokyo"}
NONE: dict[str, str] = {}
LOST = [series for series in WELL if series.startswith("vimmon_up")]
# What is another than when all is well, None: missing; which alert fires; with which labels beside its severity.
CASES: list[tuple[dict[str, str | None], str, dict[str, str]]] = [
    (
        {'vimmon_vim_not_reachable_seconds{instance="a",vim_id="v",name="tokyo",status="UNREACHABLE"}': "61x60"},
        "VimmonVimUnreachable",
        VIM,
    ),
    (
        {'vimmon_vim_not_reachable_seconds{instance="a",vim_id="v",name="tokyo",status="UNKNOWN"}': "601x60"},
        "VimmonVimNotKnown",
        VIM | {"status": "UNKNOWN"},
    ),
    (
        {'vimmon_vim_not_reachable_seconds{instance="a",vim_id="w",name="osaka",status="PENDING"}': "601x60"},
        "VimmonVimNotKnown",
        {"vim_id": "w", "name": "osaka", "status": "PENDING"},
    ),
    ({'vimmon_vims{instance="a",status="PENDING"}': "51x60"}, "VimmonVimsNotNamed", NONE),
    ({'vimmon_vim_flapping{instance="a",vim_id="v",name="tokyo"}': "1x60"}, "VimmonVimFlapping", VIM),
    (
        {
            'vimmon_certificate_expiry_timestamp_seconds{instance="a",vim_id="v",name="tokyo"}': f"{14 * 86400}x60",
        },
        "VimmonCertificateExpires",
        VIM,
    ),
    ({'vimmon_conductors{instance="a"}': "0x60"}, "VimmonNoConductor", NONE),
    (dict.fromkeys(WELL), "VimmonNoConductor", {"part": "redis"}),
    ({'vimmon_up{instance="a",part="database"}': "0x60"}, "VimmonPartAway", {"part": "database"}),
    (
        {'vimmon_up{instance="a",part="redis"}': "0x60", **dict.fromkeys(s for s in WELL if "reconcile" in s)},
        "VimmonPartAway",
        {"part": "redis"},
    ),
    (
        {f'vimmon_reconcile_age_seconds{{instance="{instance}"}}': "121x60" for instance in "ab"},
        "VimmonNobodyReconciles",
        NONE,
    ),
    (
        dict.fromkeys(series for series in WELL if "reconcile" in series),
        "VimmonNobodyReconciles",
        NONE,
    ),
    ({'vimmon_executors{instance="a"}': "0x60"}, "VimmonNoExecutor", NONE),
    ({'vimmon_prober_degraded{instance="a",executor="e"}': "1x60"}, "VimmonExecutorDegraded", {"executor": "e"}),
    (
        {'vimmon_probe_lag_seconds_bucket{instance="a",executor="e",cause="schedule",le="1"}': "0+98x60"},
        "VimmonProbesLate",
        {"executor": "e", "cause": "schedule"},
    ),
    ({'vimmon_requests_waiting{instance="a"}': "1001x60"}, "VimmonQueueGrows", NONE),
    ({'vimmon_requests_dead{instance="a"}': "1x60"}, "VimmonDeadCalls", NONE),
    ({'vimmon_jobs{instance="a",state="failed"}': "1x60"}, "VimmonJobsFail", NONE),
    ({'vimmon_tacker_vims{instance="a",state="missing"}': "1x60"}, "VimmonTackerListDoubted", NONE),
    ({'vimmon_tacker_failures{instance="a"}': "1x60"}, "VimmonTackerNotFollowed", NONE),
    ({'vimmon_tacker_list_age_seconds{instance="a"}': "181x60"}, "VimmonTackerNotFollowed", NONE),
]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def case(changed: dict[str, str | None], firing: list[dict[str, str]]) -> dict[str, Any]:
    series = {name: values for name, values in {**WELL, **changed}.items() if values is not None}
    labels = [",".join(f'{name}="{value}"' for name, value in each.items()) for each in firing]
    return {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": FIRING,
                "eval_time": "25m",
                "exp_samples": [{"labels": f'ALERTS{{alertstate="firing",{each}}}', "value": 1} for each in labels],
            }
        ],
    }


def check(folder: Path, cases: list[dict[str, Any]]) -> None:
    file = folder / "cases.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "30s", "tests": cases}))
    done = promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_what_prometheus_takes() -> None:
    done = promtool("check", "rules", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_fires_where_all_is_well_with_two_conductors(tmp_path: Path) -> None:
    check(tmp_path, [case({}, [])])


def test_each_alert_fires_where_it_should_and_no_other(tmp_path: Path) -> None:
    severity = {rule["alert"]: rule["labels"]["severity"] for rule in rules()}
    check(
        tmp_path,
        [
            case(changed, [{"alertname": alert, "severity": severity[alert], **labels}])
            for changed, alert, labels in CASES
        ],
    )
    assert {alert for _, alert, _ in CASES} == set(severity)


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical"), rule
        assert set(rule["annotations"]) == {"summary", "description"}, rule
