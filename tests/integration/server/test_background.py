"""Background work by processes of its own: a scheduler and a worker, with a server or without one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dirac.db.engine import Database
from dirac.server.census import find_task
from dirac.server.housekeeping import ECHO
from tests.integration.server.hosts import PATIENCE, SOURCES, Host, eventually
from tests.services.rabbitmq import RabbitMQ


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, rabbitmq_server: RabbitMQ) -> Iterator[Host]:
    """A host with a broker, and a scheduler and a worker at work."""
    directory = tmp_path_factory.mktemp("host")
    url = directory / "broker.url"
    url.touch(0o600)
    url.write_text(rabbitmq_server.url)
    worker = 'runner = "celery"\nbroker_url_file = "broker.url"\nqueue_type = "quorum"\n'
    host = Host(directory, worker)
    yield host
    host.close()


@pytest.fixture
def busy(host: Host) -> Host:
    """The host with its scheduler and worker running, and no server."""
    for words in (("scheduler",), ("worker", "--instance", "1")):
        if " ".join(words) not in host.processes:
            host.start(*words)
    for settings in (host.settings.background(None), host.settings.background(1)):
        eventually(lambda s=settings: host.watch(s, "/health").status_code == 200, "both are well", host)
    return host


async def enqueue(host: Host) -> str:
    database = Database(host.settings.database_url())
    try:
        async with database.write() as tx:
            return tx.enqueue(ECHO)
    finally:
        await database.close()


async def state(host: Host, entry_id: str) -> str:
    database = Database(host.settings.database_url())
    try:
        return (await find_task(database, entry_id)).state
    finally:
        await database.close()


def test_work_flows_while_no_server_runs(busy: Host) -> None:
    entry_id = asyncio.run(enqueue(busy))
    eventually(lambda: asyncio.run(state(busy, entry_id)) == "Done", "the work is done", busy)
    worker, scheduler = busy.settings.background(1), busy.settings.background(None)
    assert busy.metric(worker, 'dirac_tasks_total{outcome="done",task="server.echo"}') == 1
    assert busy.metric(worker, 'dirac_task_duration_seconds_count{task="server.echo"}') == 1
    assert busy.metric(scheduler, "dirac_outbox_oldest_pending_seconds") is not None
    assert (busy.metric(scheduler, "dirac_relay_success_timestamp_seconds") or 0) > 0


def test_an_operator_sees_that_work_is_done(busy: Host, tmp_path: Path) -> None:
    busy.start("run")
    eventually(lambda: busy.answers(1), "the server is ready", busy)
    token = tmp_path / "token"
    assert json.loads(busy.command("token", "--out", str(token), "--json")) == {"changed": True}
    assert json.loads(busy.command("token", "--out", str(token), "--json")) == {"changed": False}
    done = dirac(busy, token, "task", "echo", "--wait", "30", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "Done"
    table = dirac(busy, token, "task", "echo", "--wait", "30")
    assert "server.echo" in table.stdout
    busy.tell("worker", "--instance", "1")
    assert busy.ended("worker", "--instance", "1") == 0
    stuck = dirac(busy, token, "task", "echo", "--wait", "3")
    assert stuck.returncode == 5
    assert "dirac-server worker" in stuck.stderr
    untrusted = dirac(busy, token, "task", "echo", ca_file="")
    assert untrusted.returncode == 5
    assert "certificate" in untrusted.stderr.lower()


def test_a_broker_that_is_away_shows_in_the_health(busy: Host, rabbitmq_server: RabbitMQ) -> None:
    rabbitmq_server.kill()
    try:
        for settings in (busy.settings.background(None), busy.settings.background(1)):
            eventually(lambda s=settings: busy.watch(s, "/health").status_code == 503, "it shows", busy)
    finally:
        rabbitmq_server.start()
    for settings in (busy.settings.background(None), busy.settings.background(1)):
        eventually(lambda s=settings: busy.watch(s, "/health").status_code == 200, "all is well", busy)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_scheduler_ends_when_it_is_told_to(busy: Host, how: signal.Signals) -> None:
    busy.tell("scheduler", how=how)
    assert busy.ended("scheduler") == 0


def dirac(
    host: Host, token: Path, *words: str, ca_file: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": str(SOURCES),
        "DIRAC_URL": host.url(1),
        "DIRAC_TOKEN_FILE": str(token),
        "DIRAC_CA_FILE": str(host.authority.ca) if ca_file is None else ca_file,
    }
    command = [sys.executable, "-m", "dirac.cli.main", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
