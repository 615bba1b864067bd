"""What the processes of a server tell Prometheus: every metric, declared once.

Each process has a registry of its own and a listener (`dirac.server.listener`). What is true of the whole
installation (`dirac_jobs`, for instance) is counted in the database by the scheduler now and then, never for
a scrape: somebody who asks often costs nothing.

``python -m dirac.server.metrics`` prints the reference.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

Process = Literal["server", "worker", "scheduler"]
Snapshot = Mapping[str, Mapping[tuple[str, ...], float]]
"""Values of gauges that are counted together: by metric, by its labels."""

_ALL: tuple[Process, ...] = ("server", "worker", "scheduler")
_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TASK_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_ABORTED = "aborted"  # the client went away before there was an answer


@dataclass(frozen=True)
class Metric:
    """One metric, as it is declared.

    Attributes:
        name: As Prometheus stores it.
        kind: What it is.
        meaning: One sentence, with the unit if the name has none.
        labels: Names of its labels.
        told_by: The processes that tell it.
        counted: It is one of those that are counted together.
    """

    name: str
    kind: type[MetricWrapperBase]
    meaning: str
    labels: tuple[str, ...] = ()
    told_by: tuple[Process, ...] = _ALL
    counted: bool = False
    buckets: tuple[float, ...] = ()


METRICS = (
    Metric("dirac_build_info", Gauge, "Always 1; its labels say what runs", ("version", "process")),
    Metric(
        "dirac_http_requests_total",
        Counter,
        f"Requests answered, by the route's template; status `{_ABORTED}` if the client went away before",
        ("method", "route", "status"),
        ("server",),
    ),
    Metric(
        "dirac_http_request_duration_seconds",
        Histogram,
        "Time from a request's head to the end of its answer; a pilot that waits for work holds its request",
        ("method", "route"),
        ("server",),
        buckets=_REQUEST_BUCKETS,
    ),
    Metric(
        "dirac_http_draining",
        Gauge,
        "1 while the server is about to end and not ready, else 0",
        (),
        ("server",),
    ),
    Metric(
        "dirac_certificate_expiry_timestamp_seconds",
        Gauge,
        "When the certificate of a listener of this process (`http`, `metrics`) expires, as Unix time",
        ("listener",),
    ),
    Metric(
        "dirac_authorities_expiry_timestamp_seconds",
        Gauge,
        "When the first of the authorities of client certificates expires (`authority`), and when the first "
        "of their lists of revoked certificates is due (`list`), after which all certificates of that "
        "authority are refused, as Unix time; NaN if there is none",
        ("what",),
        ("server",),
    ),
    Metric(
        "dirac_expiry_warning_seconds",
        Gauge,
        "How long before their end this server wants to be told of certificates and authorities "
        "(`expiry.days` of the settings)",
        (),
        ("server",),
    ),
    Metric(
        "dirac_match_refusals_total",
        Counter,
        "Answers to pilots without a job, by what kept some class of the jobs that wait away: a requirement "
        "of theirs, or a limit of the site; an answer counts once for each",
        ("reason",),
        ("server",),
    ),
    Metric(
        "dirac_explanations_total",
        Counter,
        "Reasons told to people who asked why, by what they asked about (`job`, `pilot`, `site`): a "
        "requirement, or a reason to wait; an answer counts once for each",
        ("subject", "reason"),
        ("server",),
    ),
    Metric(
        "dirac_shadow_decisions_total",
        Counter,
        "Decisions for which a candidate (`workload/shadow`) was asked as well, by how it differs: `Same`, "
        "`OtherJob` of the same user, `OtherUser` of the same group, `OtherGroup`, `Job` instead of none, or "
        "`NoJob`",
        ("vo", "kind"),
        ("server",),
    ),
    Metric(
        "dirac_configuration_outdated",
        Gauge,
        "1 while the newest version of the configuration cannot be read and an older one is in force, else 0",
        (),
        ("server",),
    ),
    Metric(
        "dirac_secrets_outdated",
        Gauge,
        "References to secrets that cannot be followed at present, so that the last good secret is used",
    ),
    Metric("dirac_database_connections_in_use", Gauge, "Connections of the pool that are in use"),
    Metric("dirac_database_connections_limit", Gauge, "Connections that the pool opens at most"),
    Metric(
        "dirac_tasks_total",
        Counter,
        "Executions of background work by how they ended: `done`, `failed` (will be tried again), `parked` "
        "(an operator decides), `superseded` (failed, and another execution had begun), `interrupted` (the "
        "process was told to stop)",
        ("task", "outcome"),
    ),
    Metric(
        "dirac_task_duration_seconds",
        Histogram,
        "Run time of executions of background work",
        ("task",),
        buckets=_TASK_BUCKETS,
    ),
    Metric(
        "dirac_relay_success_timestamp_seconds",
        Gauge,
        "When background work was last handed out without trouble, or there was none, as Unix time",
        (),
        ("server", "scheduler"),
    ),
    Metric("dirac_jobs", Gauge, "Jobs of the installation", ("vo", "status"), ("scheduler",), counted=True),
    Metric(
        "dirac_pilots",
        Gauge,
        "Pilots of the installation",
        ("vo", "site", "status"),
        ("scheduler",),
        counted=True,
    ),
    Metric(
        "dirac_signing_key_start_timestamp_seconds",
        Gauge,
        "Since when the newest key signs tokens, as Unix time; it is replaced after 30 days",
        (),
        ("scheduler",),
        counted=True,
    ),
    Metric(
        "dirac_proxies",
        Gauge,
        "Proxies that users left here, by whether they end `soon` (`expiry.proxy_days` of the settings), or "
        "`later`",
        ("vo", "ends"),
        ("scheduler",),
        counted=True,
    ),
    Metric(
        "dirac_outbox_entries",
        Gauge,
        "Background work that is not done, by its state",
        ("state",),
        ("scheduler",),
        counted=True,
    ),
    Metric(
        "dirac_outbox_oldest_pending_seconds",
        Gauge,
        "For how long the work that waits longest could have been handed out; 0 if none waits",
        (),
        ("scheduler",),
        counted=True,
    ),
    Metric(
        "dirac_census_timestamp_seconds",
        Gauge,
        "When the installation's jobs, pilots and background work were last counted, as Unix time",
        (),
        ("scheduler",),
        counted=True,
    ),
)
disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody looks at
_BY_NAME = {metric.name: metric for metric in METRICS}


class Metrics:
    """The metrics of one process.

    Args:
        process: Which one.
        version: Version of the program.
    """

    def __init__(self, process: Process, version: str) -> None:
        self.registry = CollectorRegistry()
        self._counted = _Counted()
        self.registry.register(self._counted)
        self._made: dict[str, Any] = {
            metric.name: _make(metric, self.registry)
            for metric in METRICS
            if process in metric.told_by and not metric.counted
        }
        self._known: dict[tuple[str, ...], Any] = {}
        self._child("dirac_build_info", version, process).set(1)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; see `dirac.transport.server.Observe`."""
        route = route or "none"
        code = str(status) if status else _ABORTED
        self._child("dirac_http_requests_total", method, route, code).inc()
        self._child("dirac_http_request_duration_seconds", method, route).observe(seconds)

    def refused(self, reasons: Iterable[str]) -> None:
        """Count an answer to a pilot without a job."""
        for reason in reasons:
            self._child("dirac_match_refusals_total", reason).inc()

    def explained(self, subject: str, reasons: Iterable[str]) -> None:
        """Count an answer to somebody who asked why."""
        for reason in reasons:
            self._child("dirac_explanations_total", subject, reason).inc()

    def compared(self, vo: str, kind: str) -> None:
        """Count a decision for which a candidate was asked as well."""
        self._child("dirac_shadow_decisions_total", vo, kind).inc()

    def task(self, name: str, outcome: str, seconds: float) -> None:
        """Count an execution; see `dirac.server.worker.OnEnd`."""
        self._child("dirac_tasks_total", name, outcome).inc()
        self._child("dirac_task_duration_seconds", name).observe(seconds)

    def relayed(self) -> None:
        """Note that background work was handed out without trouble."""
        self._made["dirac_relay_success_timestamp_seconds"].set_to_current_time()

    def follow(self, name: str, value: Callable[[], float], *labels: str) -> None:
        """Have a gauge ask for its value at each scrape; in another thread, so it must be cheap and safe."""
        (self._child(name, *labels) if labels else self._made[name]).set_function(value)

    def count(self, snapshot: Snapshot) -> None:
        """Replace what was counted before, all at once."""
        self._counted.snapshot = snapshot

    def _child(self, name: str, *labels: str) -> Any:
        """Return a metric with its labels; looked up once, since that takes a lock and checks."""
        key = (name, *labels)
        child = self._known.get(key)
        if child is None:
            child = self._known[key] = self._made[name].labels(*labels)
        return child


class _Counted(Collector):
    """Tells the last snapshot: values that have gone are gone, and no scrape sees half of one."""

    def __init__(self) -> None:
        self.snapshot: Snapshot = {}

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for name, values in self.snapshot.items():
            metric = _BY_NAME[name]
            family = GaugeMetricFamily(name, metric.meaning, labels=metric.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family


def _make(metric: Metric, registry: CollectorRegistry) -> MetricWrapperBase:
    if metric.kind is Histogram:
        return Histogram(
            metric.name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets
        )
    return metric.kind(metric.name, metric.meaning, metric.labels, registry=registry)


_HEAD = """\
# Metrics

<!-- Made by `python -m dirac.server.metrics`; a test compares. -->

Each process of a server answers at `/metrics` in the text format of Prometheus and, so that a supervisor can
ask as well, at `/health`: 200 or 503, with a word about each thing that it needs. The table `[metrics]` of
[the settings](settings.md) switches that on and says where:

| process | port |
|---|---|
| `dirac-server run --instance N` | `metrics.port` + N - 1 |
| `dirac-server worker --instance N` | `metrics.port` + 9 + N |
| `dirac-server scheduler` | `metrics.port` + 20 |

    [metrics]
    host = "0.0.0.0"
    port = 9160
    tls_certificate = "/etc/dirac/pki/host.pem"
    tls_key = "/etc/dirac/pki/host.key"
    tls_client_ca = "/etc/dirac/pki/ca.pem"

With `tls_client_ca`, only who shows a certificate of that authority gets an answer: the labels name VOs and
sites. What is true of the whole installation is told by the scheduler, which counts every 15 seconds, or less
often if counting would take more than a twentieth of the time. With the runner `in-process` there is no
scheduler: the server tells that, and the metrics of tasks, which otherwise the workers do. Where several
schedulers run, all tell the same: take `max by (...)`, not a sum.

Beside these, each process tells what `prometheus-client` knows of any: `process_cpu_seconds_total`,
`process_resident_memory_bytes`, `process_open_fds`, `process_max_fds`, `process_virtual_memory_bytes`,
`process_start_time_seconds`, and `python_gc_*`.

| metric | type | labels | told by | meaning |
|---|---|---|---|---|
"""


def reference() -> str:
    """Return the reference as Markdown."""
    rows = [
        f"| `{metric.name}` | {metric.kind.__name__.lower()} "
        f"| {', '.join(f'`{label}`' for label in metric.labels)} | {', '.join(metric.told_by)} "
        f"| {metric.meaning} |"
        for metric in METRICS
    ]
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
