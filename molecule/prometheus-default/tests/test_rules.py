# SPDX-License-Identifier: GPL-3.0-or-later
"""Each alert is fired by what it is for, and stays silent without it; asked of promtool on the host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

RULES = Path(__file__).parents[3] / "roles/prometheus/files/rules"
Series = dict[str, str]
NODE = 'instance="n:9100",mountpoint="/",fstype="ext4"'
POOL = "dirac_database_connections"
JOBS = 'dirac_jobs{vo="astro",status="Waiting"}'
PILOTS = 'dirac_pilots{vo="astro",site="S",status='
TASKS = 'dirac_tasks_total{task="t",outcome='
HTTP = 'dirac_http_requests_total{route="/r",status='
BUCKET = "dirac_http_request_duration_seconds_bucket"
MATCH = 'route="/api/jobs/match",'
FULL = f"node_filesystem_size_bytes{{{NODE}}}"
FREE = f"node_filesystem_avail_bytes{{{NODE}}}"
WRITABLE = {f"node_filesystem_readonly{{{NODE}}}": "0x2000"}
BLIND = "prometheus_rule_evaluation_failures_total"
UNSENT = 'prometheus_notifications_errors_total{alertmanager="m"}'
WATERMARK = "rabbitmq_alarms_memory_used_watermark"
DIRAC_UP = {'up{job="dirac-server",instance="s"}': "1x60"}


def _slow(route: str) -> Series:
    """Requests that all take between 2 and 10 seconds."""
    return {
        f'{BUCKET}{{{route}le="2"}}': "0x60",
        f'{BUCKET}{{{route}le="10"}}': "0+100x60",
        f'{BUCKET}{{{route}le="+Inf"}}': "0+100x60",
    }


def _up(job: str, value: int) -> Series:
    return {f'up{{job="{job}",instance="x:1"}}': f"{value}x60"}


# Alert: minutes, series that fire it, series that do not. Time begins at 0 in these tests.
CASES: dict[str, tuple[int, Series, Series]] = {
    "DiracServerDown": (5, _up("dirac-server", 0), _up("dirac-server", 1) | _up("dirac-worker", 0)),
    "DiracWorkerDown": (10, _up("dirac-worker", 0), _up("dirac-worker", 1)),
    "DiracNoScheduler": (
        12,
        DIRAC_UP,
        DIRAC_UP
        | {
            'dirac_census_timestamp_seconds{i="dead"}': "0x60",
            'dirac_census_timestamp_seconds{i="b"}': "0+60x60",
        },
    ),
    "DiracRelayStuck": (
        12,
        {"dirac_relay_success_timestamp_seconds": "0x60"},
        {"dirac_relay_success_timestamp_seconds": "0+60x60"},
    ),
    "DiracOutboxOld": (
        10,
        {"dirac_outbox_oldest_pending_seconds": "700x60"},
        {"dirac_outbox_oldest_pending_seconds": "20x60"},
    ),
    "DiracTasksParked": (
        15,
        {'dirac_outbox_entries{state="Parked"}': "1x60"},
        {'dirac_outbox_entries{state="Parked"}': "0x60", 'dirac_outbox_entries{state="Pending"}': "9x60"},
    ),
    "DiracTasksFailing": (
        30,
        {f'{TASKS}"failed"}}': "0+60x60", f'{TASKS}"done"}}': "0+30x60"},
        {f'{TASKS}"failed"}}': "0+10x60", f'{TASKS}"done"}}': "0+60x60"},
    ),
    "DiracErrors": (
        20,
        {f'{HTTP}"500"}}': "0+10x60", f'{HTTP}"200"}}': "0+100x60"},
        {f'{HTTP}"404"}}': "0+90x60", f'{HTTP}"200"}}': "0+100x60"},
    ),
    "DiracSlow": (30, _slow('route="/r",'), _slow(MATCH)),
    "DiracDatabasePoolFull": (
        10,
        {f"{POOL}_in_use": "10x60", f"{POOL}_limit": "10x60"},
        {f"{POOL}_in_use": "9x60", f"{POOL}_limit": "10x60"},
    ),
    "DiracCertificateExpires": (
        20,
        {'dirac_certificate_expiry_timestamp_seconds{listener="http"}': f"{10 * 86400}x60"},
        {'dirac_certificate_expiry_timestamp_seconds{listener="http"}': f"{20 * 86400}x60"},
    ),
    "DiracAuthorityExpires": (
        120,
        {
            'dirac_authorities_expiry_timestamp_seconds{what="authority"}': f"{25 * 86400}x150",
            "dirac_expiry_warning_seconds": f"{30 * 86400}x150",
        },
        {
            'dirac_authorities_expiry_timestamp_seconds{what="authority"}': f"{25 * 86400}x150",
            'dirac_authorities_expiry_timestamp_seconds{what="list"}': f"{4 * 86400}x150",
        },
    ),
    "DiracSigningKeyOld": (
        120,
        {"dirac_signing_key_start_timestamp_seconds": f"-{33 * 86400}x150"},
        {"dirac_signing_key_start_timestamp_seconds": f"-{30 * 86400}x150"},
    ),
    "DiracProxiesEnd": (
        400,
        {'dirac_proxies{vo="astro",ends="soon"}': "2x450", 'dirac_proxies{vo="bio",ends="later"}': "2x450"},
        {'dirac_proxies{vo="astro",ends="soon"}': "0x450", 'dirac_proxies{vo="bio",ends="later"}': "2x450"},
    ),
    "DiracRevocationListDue": (
        120,
        {'dirac_authorities_expiry_timestamp_seconds{what="list"}': f"{86400 + 1800}x150"},
        {'dirac_authorities_expiry_timestamp_seconds{what="list"}': f"{3 * 86400}x150"},
    ),
    "DiracPilotsFailing": (
        90,
        {f'{PILOTS}"Failed"}}': "0+1x120", f'{PILOTS}"Done"}}': "5x120"},
        {f'{PILOTS}"Failed"}}': "0+1x120", f'{PILOTS}"Done"}}': "0+3x120"},
    ),
    "DiracJobsWithoutPilots": (
        45,
        {
            JOBS: "7x60",
            f'{PILOTS}"Done"}}': "3x60",
            'dirac_pilots{vo="bio",site="S",status="Running"}': "3x60",
        },
        {JOBS: "7x60", f'{PILOTS}"Submitted"}}': "1x60"},
    ),
    "HostDown": (10, _up("node", 0), _up("node", 1)),
    "ServiceDown": (10, _up("haproxy", 0), _up("haproxy", 1) | _up("rabbitmq", 0)),
    "HostDiskFull": (
        10,
        WRITABLE | {FREE: "4x60", FULL: "100x60"},
        WRITABLE | {FREE: "10x60", FULL: "100x60"},
    ),
    "HostDiskFilling": (
        600,
        {FREE: "250-0.4x600", FULL: "1000x600"},
        {FREE: "250x600", FULL: "1000x600"},
    ),
    "HostInodesUsedUp": (
        10,
        {f"node_filesystem_files_free{{{NODE}}}": "4x60", f"node_filesystem_files{{{NODE}}}": "100x60"},
        {f"node_filesystem_files_free{{{NODE}}}": "40x60", f"node_filesystem_files{{{NODE}}}": "100x60"},
    ),
    "HostMemoryLow": (
        15,
        {"node_memory_MemAvailable_bytes": "4x60", "node_memory_MemTotal_bytes": "100x60"},
        {"node_memory_MemAvailable_bytes": "10x60", "node_memory_MemTotal_bytes": "100x60"},
    ),
    "HostProcessKilledForMemory": (
        10,
        {"node_vmstat_oom_kill": "0 0 0 0 0 1x60"},
        {"node_vmstat_oom_kill": "3x60"},
    ),
    "HostClockWrong": (
        20,
        {"node_timex_offset_seconds": "-0.7x60"},
        {"node_timex_offset_seconds": "0.01x60"},
    ),
    "PrometheusConfigurationRefused": (
        10,
        {"prometheus_config_last_reload_successful": "0x60"},
        {"prometheus_config_last_reload_successful": "1x60"},
    ),
    "PrometheusRulesFailing": (30, {BLIND: "0+1x60"}, {BLIND: "5x60"}),
    "PrometheusAlertsNotSent": (30, {UNSENT: "0+1x60"}, {UNSENT: "5x60"}),
    "MariadbDown": (5, {"mysql_up": "0x60"}, {"mysql_up": "1x60"} | _up("mariadb", 1)),
    "MariadbConnectionsUsedUp": (
        10,
        {
            "mysql_global_status_threads_connected": "90x60",
            "mysql_global_variables_max_connections": "100x60",
        },
        {
            "mysql_global_status_threads_connected": "50x60",
            "mysql_global_variables_max_connections": "100x60",
        },
    ),
    "PostgresqlDown": (5, {"pg_up": "0x60"}, {"pg_up": "1x60"} | _up("postgresql", 1)),
    "PostgresqlConnectionsUsedUp": (
        10,
        {
            'pg_stat_activity_count{state="idle"}': "45x60",
            'pg_stat_activity_count{state="active"}': "45x60",
            "pg_settings_max_connections": "100x60",
        },
        {'pg_stat_activity_count{state="idle"}': "45x60", "pg_settings_max_connections": "100x60"},
    ),
    "RabbitmqDown": (5, _up("rabbitmq", 0), _up("rabbitmq", 1)),
    "RabbitmqQueueGrows": (
        45,
        {"rabbitmq_queue_messages_ready": "0+100x60"},
        {"rabbitmq_queue_messages_ready": "9000-100x60"},
    ),
    "RabbitmqWithoutConsumers": (
        10,
        {"rabbitmq_queue_messages_ready": "1x60", "rabbitmq_consumers": "0x60"},
        {"rabbitmq_queue_messages_ready": "1x60", "rabbitmq_consumers": "1x60"},
    ),
    "RabbitmqBlocksPublishers": (5, {WATERMARK: "1x60"}, {WATERMARK: "0x60"}),
    "HaproxyBackendEmpty": (
        5,
        {"haproxy_backend_active_servers": "0x60"},
        {"haproxy_backend_active_servers": "1x60"},
    ),
    "BackupOld": (
        38 * 60,
        {"dirac_backup_last_complete_timestamp_seconds": "0x2400"},
        {"dirac_backup_last_complete_timestamp_seconds": "0x600 36000x1800"},
    ),
    "BackupDamaged": (
        10,
        {"dirac_backup_last_check_success": "0x60", "dirac_backup_last_check_timestamp_seconds": "9x60"},
        {"dirac_backup_last_check_success": "0x60", "dirac_backup_last_check_timestamp_seconds": "0x60"},
    ),
    "BackupUnchecked": (
        74 * 60,
        {"dirac_backup_last_check_timestamp_seconds": "0x5000"},
        {"dirac_backup_last_check_timestamp_seconds": "0x600 36000x4400"},
    ),
}


def _alerts() -> dict[str, dict[str, Any]]:
    groups = [group for path in RULES.glob("*.yml") for group in yaml.safe_load(path.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def _firing(host: Any, alert: str, minutes: int, series: Series) -> bool:
    """Let promtool find out whether an alert fires at a time."""
    query = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    for value in (0, 1, 2):
        case = {
            "rule_files": ["/etc/prometheus/rules/*.yml"],
            "evaluation_interval": "1m",
            "tests": [
                {
                    "interval": "1m",
                    "input_series": [{"series": name, "values": values} for name, values in series.items()],
                    "promql_expr_test": [
                        {
                            "expr": query,
                            "eval_time": f"{minutes}m",
                            "exp_samples": [{"labels": "{}", "value": value}],
                        }
                    ],
                }
            ],
        }
        done = host.run(
            f"cat > /tmp/case.yml <<'END'\n{json.dumps(case)}\nEND\npromtool test rules /tmp/case.yml"
        )
        if done.rc == 0:
            return value > 0
        assert "exp:" in done.stdout + done.stderr, done.stdout + done.stderr
    raise AssertionError(f"{alert} fires more than twice")


@pytest.mark.parametrize("alert", sorted(CASES))
def test_alert_fires_when_it_should_and_only_then(host: Any, alert: str) -> None:
    minutes, bad, good = CASES[alert]
    assert _firing(host, alert, minutes, bad)
    assert not _firing(host, alert, minutes, good)


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == set(_alerts())


@pytest.mark.parametrize("alert", sorted(_alerts()))
def test_alert_says_what_and_what_to_do(alert: str) -> None:
    rule = _alerts()[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["action"]
