"""The processes of an installation as a host has them: servers, a worker, a scheduler, and a balancer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from dirac.server import control
from dirac.server.composition import build
from dirac.server.settings import Settings, load
from dirac.transport.tls import client_context
from tests.services.authority import Authority
from tests.services.server import free_ports

SOURCES = Path(__file__).parents[3] / "src"
PATIENCE = 60.0
LOOK = 0.05


class Host:
    """One host with an installation on SQLite; all that it serves is TLS.

    Args:
        directory: Everything of it.
        worker: The table `[worker]` of its settings.
        drain: Seconds that servers go on when they are told to stop.
    """

    def __init__(self, directory: Path, worker: str = "", drain: int = 0) -> None:
        self.directory = directory
        self.authority = Authority(directory / "pki")
        certificate, key = self.authority.certificate(days=10, stem="host")
        self.file = directory / "dirac.toml"
        port, metrics = _run_of_ports(2), _run_of_ports(21)
        tls = f'tls_certificate = "{certificate}"\ntls_key = "{key}"\ntls_client_ca = "{self.authority.ca}"\n'
        self.file.write_text(
            f'[http]\nurl = "https://localhost:{port}"\nport = {port}\n{tls}drain_seconds = {drain}\n'
            f"[metrics]\nport = {metrics}\n{tls}[worker]\n{worker}"
        )
        self.settings: Settings = load(self.file)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        control.make_master_key(self.settings)
        self.command("migrate")
        self.trust = client_context(self.authority.ca)
        self.known = client_context(self.authority.ca)  # shows a certificate as well
        self.known.load_cert_chain(certificate, key)

    def command(self, *words: str) -> str:
        """Run a command of `dirac-server` and return what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "dirac.server.main", words[0], "-s", str(self.file), *words[1:]],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def start(self, *words: str) -> None:
        """Start a process: `run --instance 1`, for instance."""
        log = self.directory / f"{'-'.join(words)}.log"
        with log.open("ab") as output:
            self.processes[" ".join(words)] = subprocess.Popen(
                [sys.executable, "-m", "dirac.server.main", words[0], "-s", str(self.file), *words[1:]],
                env=self._environment(),
                stdout=output,
                stderr=output,
            )

    def tell(self, *words: str, how: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to a process."""
        self.processes[" ".join(words)].send_signal(how)

    def ended(self, *words: str) -> int:
        """Wait for the end of a process and return its exit code."""
        return self.processes.pop(" ".join(words)).wait(PATIENCE)

    def close(self) -> None:
        """End all processes."""
        for process in self.processes.values():
            process.kill()
            process.wait(PATIENCE)
        self.processes.clear()

    def url(self, instance: int) -> str:
        """Return the address of a server."""
        return f"https://localhost:{self.settings.server(instance).http.port}"

    def watch(self, settings: Settings, path: str = "/metrics", *, known: bool = True) -> httpx.Response:
        """Ask the listener of a process, with a certificate or without."""
        with httpx.Client(verify=self.known if known else self.trust, timeout=10) as client:
            return client.get(f"https://localhost:{settings.metrics.port}{path}")

    def metric(self, settings: Settings, series: str) -> float | None:
        """Return a value that a process tells."""
        for line in self.watch(settings).text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        return None

    def answers(self, instance: int) -> bool:
        """Tell whether a server is ready."""
        with contextlib.suppress(httpx.TransportError), httpx.Client(verify=self.trust) as client:
            return client.get(f"{self.url(instance)}/api/health/ready").status_code == 200
        return False

    def logs(self) -> str:
        """Return what the processes said."""
        return "\n".join(log.read_text(errors="replace") for log in self.directory.glob("*.log"))

    async def pilot_token(self) -> str:
        """Return a token with which a pilot may ask for work."""
        installation = build(self.settings)
        try:
            await installation.begin()
            return await installation.identity.tokens.pilot_token(stamp="a" * 32, vo="astro", seconds=600)
        finally:
            await installation.close()

    def _environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(SOURCES)}


def eventually(happened: Callable[[], Any], what: str, host: Host) -> Any:
    """Wait until something is true and return it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(httpx.TransportError):
            if result := happened():
                return result
        assert time.monotonic() < deadline, f"this did not happen: {what}\n{host.logs()}"
        time.sleep(LOOK)


class Balancer:
    """Passes connections through to those servers that are ready, in turn, as HAProxy does in TCP mode.

    Args:
        host: The host of the servers.
        instances: Which.
    """

    def __init__(self, host: Host, instances: list[int]) -> None:
        self._host = host
        self._ports = {instance: host.settings.server(instance).http.port for instance in instances}
        self._ready: list[int] = []
        self._turn = 0
        self.port = 0

    async def run(self, listening: asyncio.Event) -> None:
        """Serve until cancelled."""
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server, httpx.AsyncClient(verify=self._host.trust, timeout=2) as client:
            listening.set()
            while True:
                self._ready = [number for number in self._ports if await self._is_ready(client, number)]
                await asyncio.sleep(0.1)

    async def _is_ready(self, client: httpx.AsyncClient, instance: int) -> bool:
        try:
            answer = await client.get(f"{self._host.url(instance)}/api/health/ready")
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        instance = self._ready[self._turn % len(self._ready)] if self._ready else 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._ports[instance])
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        except OSError:
            pass
        finally:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def _run_of_ports(count: int) -> int:
    """Return the first of so many neighbouring ports that nobody uses."""
    import socket

    while True:
        (first,) = free_ports(1)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


def said(response: httpx.Response) -> Any:
    """Return the JSON of an answer."""
    return json.loads(response.content)


def old_tls(ca: Path) -> ssl.SSLContext:
    """Return a client that speaks nothing newer than TLS 1.1."""
    context = ssl.create_default_context(cafile=ca)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context
