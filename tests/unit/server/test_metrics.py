"""The metrics: what is declared is told, by whom it says, and documented."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import generate_latest

from dirac.server.metrics import METRICS, Metrics, Process, reference

COMMITTED = Path(__file__).parents[3] / "docs/operator/metrics.md"


def told(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_the_committed_reference_is_up_to_date() -> None:
    assert COMMITTED.read_text("utf-8") == reference(), (
        "run python -m dirac.server.metrics > docs/operator/metrics.md"
    )


@pytest.mark.parametrize("process", ["server", "worker", "scheduler"])
def test_each_process_tells_what_it_declares_and_no_more(process: Process) -> None:
    metrics = Metrics(process, "1.2.3")
    metrics.count({metric.name: {} for metric in METRICS if metric.counted and process in metric.told_by})
    families = {family.name for family in metrics.registry.collect() if family.name.startswith("dirac_")}
    assert families == {metric.name.removesuffix("_total") for metric in METRICS if process in metric.told_by}


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        assert metric.name.startswith("dirac_")
        assert metric.name.endswith("_total") == (metric.kind.__name__ == "Counter")
        assert len(metric.buckets) > 0 or metric.kind.__name__ != "Histogram"


def test_requests_are_counted_by_template_and_status() -> None:
    metrics = Metrics("server", "1.2.3")
    metrics.request("GET", "/api/jobs/{job_id}", 200, 0.004)
    metrics.request("GET", "", 404, 0.001)
    metrics.request("POST", "/api/jobs/match", 0, 20.0)
    text = told(metrics)
    for series in (
        'dirac_http_requests_total{method="GET",route="/api/jobs/{job_id}",status="200"} 1.0',
        'dirac_http_requests_total{method="GET",route="none",status="404"} 1.0',
        'dirac_http_requests_total{method="POST",route="/api/jobs/match",status="aborted"} 1.0',
        'dirac_http_request_duration_seconds_bucket{le="0.005",method="GET",route="/api/jobs/{job_id}"} 1.0',
    ):
        assert series in text
    assert "_created" not in text


def test_a_count_replaces_the_one_before() -> None:
    metrics = Metrics("scheduler", "1.2.3")
    metrics.count({"dirac_jobs": {("astro", "Waiting"): 3.0, ("bio", "Done"): 1.0}})
    assert 'dirac_jobs{status="Waiting",vo="astro"} 3.0' in told(metrics)
    metrics.count({"dirac_jobs": {("astro", "Done"): 3.0}})
    text = told(metrics)
    assert 'dirac_jobs{status="Done",vo="astro"} 3.0' in text
    assert "Waiting" not in text
    assert "bio" not in text
