"""Writes the dashboards of the role grafana: ``python docs/developer/dashboards.py``.

A test compares the files with what this makes; another asks a real Prometheus each query.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).resolve().parents[2] / "roles/grafana/files/dashboards"
SCHEMA = 39  # of Grafana 11; newer versions migrate what they read
SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT = 24, 8


@dataclass(frozen=True)
class Panel:
    """A picture of one or more queries.

    Attributes:
        title: What it shows.
        queries: Legend by PromQL; `$__rate_interval` and variables are Grafana's.
        unit: Grafana's name of the unit.
        kind: Grafana's name of the picture.
        width: Columns of 24.
        stacked: Put the series on each other.
        limits: Values from which a figure is yellow and red.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    stacked: bool = False
    limits: tuple[float, ...] = ()

    def made(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Return it as Grafana reads it."""
        figure = self.kind == "stat"
        steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
        steps += [
            {"color": colour, "value": value}
            for colour, value in zip(("yellow", "red"), self.limits, strict=False)
        ]
        drawn = {
            "fillOpacity": 30 if self.stacked else 5,
            "stacking": {"mode": "normal" if self.stacked else "none"},
        }
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": HEIGHT // 2 if figure else HEIGHT},
            "targets": [
                {"refId": chr(65 + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
                for index, (query, legend) in enumerate(self.queries.items())
            ],
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "custom": {} if figure else drawn,
                    "thresholds": {"mode": "absolute", "steps": steps},
                },
                "overrides": [],
            },
            "options": {"reduceOptions": {"calcs": ["lastNotNull"]}}
            if figure
            else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        }


def stat(title: str, query: str, unit: str = "short", *limits: float) -> Panel:
    """Return a panel with one figure."""
    return Panel(title, {query: ""}, unit, "stat", 4, limits=limits)


def choice(name: str, metric: str) -> dict[str, Any]:
    """Return a variable whose values are those of a label."""
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values({metric}, {name})", "refId": name},
        "definition": f"label_values({metric}, {name})",
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
        "sort": 1,
    }


FILES = '{fstype!~"tmpfs|overlay|squashfs|fuse.*"}'
RATE = "[$__rate_interval]"
QUANTILES = {
    f"histogram_quantile({share}, sum by (le) (rate(dirac_http_request_duration_seconds_bucket"
    f'{{route!="/api/jobs/match"}}{RATE})))': name
    for share, name in ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))
}
ALIVE = 'dirac:pilots:max{vo=~"$vo",status=~"Submitted|Waiting|Running"}'

DASHBOARDS: dict[str, tuple[str, list[dict[str, Any]], list[Panel]]] = {
    "site": (
        "Site",
        [],
        [
            stat("Servers that answer", 'sum(up{job="dirac-server"})'),
            stat("Jobs running", 'sum(dirac:jobs:max{status="Running"})'),
            stat("Jobs waiting", 'sum(dirac:jobs:max{status="Waiting"})'),
            stat("Requests that fail", "dirac:http_errors:ratio5m", "percentunit", 0.01, 0.05),
            stat("Parked work", 'sum(dirac:outbox_entries:max{state="Parked"})', "short", 1, 10),
            stat("Age of the last backup", "time() - max(dirac_backup_last_complete_timestamp_seconds)", "s", 93600, 129600),
            Panel("Alerts that fire", {'count by (alertname, severity) (ALERTS{alertstate="firing"})': "{{alertname}}"}, stacked=True),
            Panel("Targets that do not answer", {"count by (job) (up == 0)": "{{job}}"}, stacked=True),
            Panel("Requests", {f"sum by (status) (rate(dirac_http_requests_total{RATE}))": "{{status}}"}, "reqps", stacked=True),
            Panel("Time to answer", QUANTILES, "s"),
            Panel("Busiest routes", {"topk(8, sum by (route) (dirac:http_requests:rate5m))": "{{route}}"}, "reqps"),
            Panel(
                "Certificates",
                {"min by (instance, listener) (dirac_certificate_expiry_timestamp_seconds) - time()": "{{instance}} {{listener}}"},
                "s",
            ),
            Panel("Memory of the processes", {'process_resident_memory_bytes{job=~"dirac-.*"}': "{{job}} {{instance}}"}, "bytes"),
            Panel("Processors in use", {f'rate(process_cpu_seconds_total{{job=~"dirac-.*"}}{RATE})': "{{job}} {{instance}}"}),
            Panel("What runs", {"count by (version, process) (dirac_build_info)": "{{process}} {{version}}"}),
            Panel("Servers that are about to end", {"sum by (instance) (dirac_http_draining)": "{{instance}}"}),
        ],
    ),
    "jobs": (
        "Jobs",
        [choice("vo", "dirac_jobs")],
        [
            stat("Waiting", 'sum(dirac:jobs:max{vo=~"$vo",status="Waiting"})'),
            stat("Running", 'sum(dirac:jobs:max{vo=~"$vo",status="Running"})'),
            stat("Stalled", 'sum(dirac:jobs:max{vo=~"$vo",status="Stalled"})', "short", 1, 100),
            stat("Done", 'sum(dirac:jobs:max{vo=~"$vo",status="Done"})'),
            stat("Failed", 'sum(dirac:jobs:max{vo=~"$vo",status="Failed"})'),
            Panel("Jobs by status", {'sum by (status) (dirac:jobs:max{vo=~"$vo"})': "{{status}}"}, stacked=True, width=24),
            Panel("Running by VO", {'sum by (vo) (dirac:jobs:max{vo=~"$vo",status="Running"})': "{{vo}}"}, stacked=True),
            Panel("Waiting by VO", {'sum by (vo) (dirac:jobs:max{vo=~"$vo",status="Waiting"})': "{{vo}}"}, stacked=True),
            Panel("Done within the hour", {'sum by (vo) (delta(dirac:jobs:max{vo=~"$vo",status="Done"}[1h]))': "{{vo}}"}),
            Panel("Failed within the hour", {'sum by (vo) (delta(dirac:jobs:max{vo=~"$vo",status="Failed"}[1h]))': "{{vo}}"}),
        ],
    ),
    "pilots": (
        "Pilots",
        [choice("vo", "dirac_pilots"), choice("site", "dirac_pilots")],
        [
            Panel("Pilots by status", {'sum by (status) (dirac:pilots:max{vo=~"$vo",site=~"$site"})': "{{status}}"}, stacked=True),
            Panel("Running by site", {'sum by (site) (dirac:pilots:max{vo=~"$vo",site=~"$site",status="Running"})': "{{site}}"}, stacked=True),
            Panel("Failed within the hour", {'dirac:pilots_failed:delta1h{vo=~"$vo",site=~"$site"}': "{{vo}} {{site}}"}),
            Panel(
                "Share that failed",
                {'dirac:pilots_failed:delta1h{vo=~"$vo",site=~"$site"} / (dirac:pilots_ended:delta1h > 0)': "{{vo}} {{site}}"},
                "percentunit",
            ),
            Panel(
                "Waiting jobs for each pilot",
                {f'sum by (vo) (dirac:jobs:max{{vo=~"$vo",status="Waiting"}}) / (sum by (vo) ({ALIVE}) > 0)': "{{vo}}"},
                width=24,
            ),
        ],
    ),
    "background": (
        "Background work",
        [],
        [
            stat("Oldest that waits", "max(dirac_outbox_oldest_pending_seconds)", "s", 60, 600),
            stat("Parked", 'sum(dirac:outbox_entries:max{state="Parked"})', "short", 1, 10),
            stat("Since the last hand-out", "time() - max(dirac_relay_success_timestamp_seconds)", "s", 60, 300),
            stat("Since the last count", "time() - max(dirac_census_timestamp_seconds)", "s", 60, 300),
            stat("Workers that answer", 'sum(up{job="dirac-worker"})'),
            Panel("Not done", {"sum by (state) (dirac:outbox_entries:max)": "{{state}}"}, stacked=True),
            Panel("Executions", {f"sum by (outcome) (rate(dirac_tasks_total{RATE}))": "{{outcome}}"}, "ops", stacked=True),
            Panel("Executions by task", {"topk(10, sum by (task) (dirac:tasks:rate5m))": "{{task}}"}, "ops"),
            Panel("Failures by task", {'sum by (task) (dirac:tasks:rate5m{outcome=~"failed|parked"})': "{{task}}"}, "ops"),
            Panel(
                "Run time, 95 %",
                {f"histogram_quantile(0.95, sum by (le, task) (rate(dirac_task_duration_seconds_bucket{RATE})))": "{{task}}"},
                "s",
            ),
            Panel(
                "Messages at the broker",
                {"sum(rabbitmq_queue_messages_ready)": "ready", "sum(rabbitmq_queue_messages_unacked)": "being worked on"},
            ),
        ],
    ),
    "services": (
        "Database, broker and hosts",
        [choice("instance", "node_uname_info")],
        [
            Panel(
                "Connections of the processes to the database",
                {"dirac_database_connections_in_use": "{{instance}}", "dirac_database_connections_limit": "limit {{instance}}"},
            ),
            Panel("Connections at MariaDB", {"mysql_global_status_threads_connected": "{{instance}}", "mysql_global_variables_max_connections": "limit {{instance}}"}),
            Panel("Queries of MariaDB", {f"rate(mysql_global_status_queries{RATE})": "{{instance}}"}, "ops"),
            Panel("Rows waited for at MariaDB", {f"rate(mysql_global_status_innodb_row_lock_waits{RATE})": "{{instance}}"}, "ops"),
            Panel("Connections at PostgreSQL", {"sum by (instance, state) (pg_stat_activity_count)": "{{instance}} {{state}}"}, stacked=True),
            Panel("Consumers and connections of RabbitMQ", {"sum(rabbitmq_consumers)": "consumers", "sum(rabbitmq_connections)": "connections"}),
            Panel("Servers behind HAProxy", {"haproxy_backend_active_servers": "{{proxy}}"}),
            Panel("Complete backup sets", {"dirac_backup_complete_sets": "{{site}}"}),
            Panel(
                "Processors in use",
                {f'1 - avg by (instance) (rate(node_cpu_seconds_total{{mode="idle",instance=~"$instance"}}{RATE}))': "{{instance}}"},
                "percentunit",
            ),
            Panel("Load for each processor", {'node_load1{instance=~"$instance"} / on (instance) count by (instance) (node_cpu_seconds_total{mode="idle"})': "{{instance}}"}),
            Panel("Memory left", {'node_memory_MemAvailable_bytes{instance=~"$instance"} / node_memory_MemTotal_bytes': "{{instance}}"}, "percentunit"),
            Panel("Space left", {f"node_filesystem_avail_bytes{FILES} / node_filesystem_size_bytes{FILES}": "{{instance}} {{mountpoint}}"}, "percentunit"),
            Panel("Disks at work", {f'rate(node_disk_io_time_seconds_total{{instance=~"$instance"}}{RATE})': "{{instance}} {{device}}"}, "percentunit"),
            Panel("Network in", {f'sum by (instance) (rate(node_network_receive_bytes_total{{instance=~"$instance",device!="lo"}}{RATE}))': "{{instance}}"}, "Bps"),
        ],
    ),
}  # fmt: skip


def placed(panels: list[Panel]) -> list[dict[str, Any]]:
    """Return the panels in rows from left to right."""
    made, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        one = panel.made(number, x, y)
        if x + panel.width > WIDTH or (made and one["gridPos"]["h"] != height):
            x, y = 0, y + height
            one = panel.made(number, x, y)
        height = one["gridPos"]["h"]
        x += panel.width
        made.append(one)
    return made


def dashboard(name: str) -> dict[str, Any]:
    """Return a dashboard as Grafana reads it."""
    title, variables, panels = DASHBOARDS[name]
    return {
        "uid": f"dirac-{name}",
        "title": title,
        "tags": ["dirac"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables},
        "annotations": {"list": []},
        "links": [
            {"type": "dashboards", "tags": ["dirac"], "title": "DIRAC", "asDropdown": False, "keepTime": True}
        ],
        "panels": placed(panels),
    }


def text(name: str) -> str:
    """Return the file of a dashboard."""
    return json.dumps(dashboard(name), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for each in DASHBOARDS:
        (DIRECTORY / f"{each}.json").write_text(text(each), "utf-8")
