"""What executors and conductors write about their counts, shown to Prometheus: it must be able to read all of it."""

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from vimmon.conductor.pages import exposed
from vimmon.conductor.reading import ExecutorSeen, Reading
from vimmon.conductor.tally import Totals
from vimmon.metrics import read_metrics


def run(data: bytes) -> None:
    """First an executor's id, then lines FIELD=VALUE, of what it counts and of the totals alike."""
    name, *lines = data.split(b"\n")
    fields = {field: value for field, _, value in (line.partition(b"=") for line in lines)}
    executors = {
        executor: ExecutorSeen(
            1, True, read_metrics({field.decode("utf-8", "replace"): value for field, value in fields.items()})
        )
        for executor in ("e", name.decode("utf-8", "replace"))
    }
    jobs = {"queued": 1, "failed": 2}
    text = exposed(Reading(executors, {}, 0, 0, jobs, Totals(fields), 1.5), None, {"v": "tokyo"}).decode()
    series: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert not sample.name.endswith(("_total", "_bucket", "_count")) or sample.value >= 0
            series[f"{sample.name}{sorted(sample.labels.items())}"] += 1
    assert not [one for one, times in series.items() if times > 1], "no series twice, or Prometheus refuses the page"
