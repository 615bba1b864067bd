"""Servers that come and go under load, and a scheduler that needs none of them: real processes, real TLS."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import msgspec
import pytest

from dirac.server import control
from dirac.server.composition import operator_token
from tests.integration.server.hosts import Balancer, Host, eventually, said
from tests.services.authority import Authority

RATE = 20.0  # requests per second
CLIENTS = 5


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host whose servers drain for two seconds."""
    host = Host(tmp_path_factory.mktemp("host"), drain=2)
    yield host
    host.close()


@pytest.fixture
def server(host: Host) -> Iterator[Host]:
    """The host with its first server ready."""
    if "run" not in host.processes:
        host.start("run")
    eventually(lambda: host.answers(1), "the server is ready", host)
    yield host
    if "run" in host.processes and not host.answers(1):
        host.processes.pop("run").kill()


@asynccontextmanager
async def balanced(host: Host) -> AsyncIterator[Balancer]:
    balancer, listening = Balancer(host, [1, 2]), asyncio.Event()
    work = asyncio.create_task(balancer.run(listening))
    await listening.wait()
    try:
        yield balancer
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


async def restart(host: Host, instance: int) -> None:
    """Restart a server as a supervisor does, and wait until it is ready."""
    words = ("run", "--instance", str(instance))
    host.tell(*words)
    await asyncio.to_thread(host.ended, *words)
    host.start(*words)
    await asyncio.to_thread(eventually, lambda: host.answers(instance), f"{words} is ready", host)
    await asyncio.sleep(0.5)  # until the balancer has seen it


async def test_a_rolling_restart_fails_no_request(tmp_path: Path) -> None:
    host = Host(tmp_path, drain=2)
    try:
        for instance in (1, 2):
            host.start("run", "--instance", str(instance))
        for instance in (1, 2):
            await asyncio.to_thread(eventually, lambda i=instance: host.answers(i), "ready", host)
        token = await host.pilot_token()
        async with balanced(host) as balancer:
            await asyncio.sleep(0.5)
            over, outcomes, waits = asyncio.Event(), list[str](), list[str]()
            load = [asyncio.create_task(keep_asking(host, balancer, over, outcomes)) for _ in range(CLIENTS)]
            load += [asyncio.create_task(keep_waiting(host, balancer, over, waits, token)) for _ in range(3)]
            for instance in (1, 2):
                await restart(host, instance)
            over.set()
            await asyncio.gather(*load)
        assert set(outcomes) == {"200"}, host.logs()
        assert len(outcomes) > 40
        assert set(waits) == {"200"}, host.logs()
    finally:
        host.close()


async def keep_asking(host: Host, balancer: Balancer, over: asyncio.Event, outcomes: list[str]) -> None:
    """Send requests one after the other, and never twice: each failure is seen."""
    async with httpx.AsyncClient(verify=host.trust, timeout=30) as client:
        while not over.is_set():
            try:
                answer = await client.get(f"https://localhost:{balancer.port}/.well-known/jwks.json")
                outcomes.append(str(answer.status_code))
            except httpx.TransportError as error:
                outcomes.append(repr(error))
            await asyncio.sleep(CLIENTS / RATE)


async def keep_waiting(
    host: Host, balancer: Balancer, over: asyncio.Event, outcomes: list[str], token: str
) -> None:
    """Ask for work as pilots do, and hold the request."""
    async with httpx.AsyncClient(verify=host.trust, timeout=30) as client:
        number = 0
        while not over.is_set():
            number += 1
            body = {
                "resource": {"site": "DIRAC.Nowhere.org"},
                "request_id": f"r{id(client)}-{number}",
                "wait": 5,
            }
            try:
                answer = await client.post(
                    f"https://localhost:{balancer.port}/api/jobs/match",
                    json=body,
                    headers={"Authorization": f"Bearer {token}"},
                )
                outcomes.append(str(answer.status_code))
            except httpx.TransportError as error:
                outcomes.append(repr(error))
            await asyncio.sleep(0.2)


async def test_who_waits_is_answered_when_a_drain_begins(server: Host) -> None:
    token = await server.pilot_token()
    async with httpx.AsyncClient(verify=server.trust, timeout=30) as client:
        body = {"resource": {"site": "DIRAC.Nowhere.org"}, "request_id": "r1", "wait": 30}
        waiting = asyncio.create_task(
            client.post(
                f"{server.url(1)}/api/jobs/match", json=body, headers={"Authorization": f"Bearer {token}"}
            )
        )
        await asyncio.sleep(0.5)
        assert not waiting.done()
        server.tell("run")
        began = time.monotonic()
        answer = await waiting
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        assert time.monotonic() - began < 5, "not after its thirty seconds"
    server.ended("run")


def test_a_draining_server_serves_and_says_that_it_is_not_ready(server: Host) -> None:
    with httpx.Client(verify=server.trust) as client:
        assert "connection" not in client.get(f"{server.url(1)}/api/health/live").headers
        server.tell("run")
        eventually(lambda: not server.answers(1), "the drain begins", server)
        ready = client.get(f"{server.url(1)}/api/health/ready")
        assert ready.status_code == 503
        assert "draining" in said(ready)["detail"]
        live = client.get(f"{server.url(1)}/api/health/live")
        assert live.status_code == 200
        assert live.headers["connection"] == "close"
        health = server.watch(server.settings, "/health")
        assert health.status_code == 503
        assert "draining" in said(health)["detail"]
        assert server.metric(server.settings, "dirac_http_draining") == 1
    server.ended("run")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_drain(tmp_path: Path, second: signal.Signals) -> None:
    host = Host(tmp_path, drain=3600)
    try:
        host.start("run")
        eventually(lambda: host.answers(1), "the server is ready", host)
        host.tell("run")
        eventually(lambda: not host.answers(1), "the drain begins", host)
        host.tell("run", how=second)
        host.ended("run")
    finally:
        host.close()


def test_client_certificates_are_optional_and_verified(server: Host, tmp_path: Path) -> None:
    live = f"{server.url(1)}/api/health/live"
    for context in (server.trust, server.known):
        with httpx.Client(verify=context) as client:
            assert client.get(live).status_code == 200
    stranger = Authority(tmp_path, "Somebody else")
    context = server.known.__class__(server.known.protocol)
    context.load_verify_locations(server.authority.ca)
    context.load_cert_chain(*stranger.certificate())
    with httpx.Client(verify=context) as client, pytest.raises(httpx.TransportError):
        client.get(live)


def test_metrics_are_for_those_with_a_certificate(server: Host) -> None:
    assert server.watch(server.settings).status_code == 200
    with pytest.raises(httpx.TransportError):
        server.watch(server.settings, known=False)
    assert server.watch(server.settings, "/else").status_code == 404
    healthy = {"status": "ok", "database": "answers", "secrets": "as referred to"}
    assert said(server.watch(server.settings, "/health")) == healthy


def test_a_new_certificate_is_shown_without_a_restart(server: Host) -> None:
    before = server.metric(server.settings, 'dirac_certificate_expiry_timestamp_seconds{listener="http"}')
    assert before is not None
    assert before > time.time() + 9 * 86400
    shown = server.command("status")
    assert "ready: True" in shown
    server.authority.certificate(days=20, stem="host")

    def renewed() -> bool:
        import ssl

        text = ssl.get_server_certificate(("localhost", server.settings.http.port))
        return text.strip() == (server.authority.directory / "host.pem").read_text().strip()

    eventually(renewed, "the new certificate is shown", server)
    after = server.metric(server.settings, 'dirac_certificate_expiry_timestamp_seconds{listener="http"}')
    assert after is not None
    assert after > before + 9 * 86400


def test_two_servers_of_a_host_are_told_apart(server: Host) -> None:
    second = ("run", "--instance", "2")
    server.start(*second)
    eventually(lambda: server.answers(2), "the second server is ready", server)
    assert (server.directory / "server-2.json").exists()
    assert "ready: True" in server.command("status", "--instance", "2")
    server.command("stop", "--instance", "2")
    assert server.ended(*second) == -signal.SIGTERM
    assert server.answers(1)


def test_the_server_counts_its_requests_by_route(server: Host) -> None:
    series = 'dirac_http_requests_total{method="GET",route="/api/tasks/{entry_id}",status="401"}'
    before = server.metric(server.settings, series) or 0
    with httpx.Client(verify=server.trust) as client:
        for number in range(3):
            client.get(f"{server.url(1)}/api/tasks/{number}")
    assert server.metric(server.settings, series) == before + 3


async def test_no_stranger_on_our_port_gets_a_token(server: Host, tmp_path: Path) -> None:
    token = await operator_token(server.settings, None, seconds=600)
    assert token is not None
    assert control.accepts(server.settings, token, seconds=60)
    certificate, _ = Authority(tmp_path, "Somebody else").certificate()
    http = msgspec.structs.replace(server.settings.http, tls_certificate=str(certificate))
    ours_is_another = msgspec.structs.replace(server.settings, http=http)
    assert control.ready(ours_is_another)
    assert not control.accepts(ours_is_another, token, seconds=60)
