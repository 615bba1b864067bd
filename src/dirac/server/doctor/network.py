"""Names and ports: users find the server, and it listens."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from dirac.server.doctor.model import Ailment, Check, Patient, in_thread

_PATIENCE = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


def checks(_patient: Patient) -> list[Check]:
    """Return the checks of names and ports."""
    return [
        Check("network.name", in_thread(_name)),
        Check("network.listener", in_thread(_listener)),
        Check("network.url", in_thread(_url)),
    ]


def _name(patient: Patient) -> str:
    host = urlsplit(patient.settings.http.url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Ailment(
            f"{host} is not known: {error.strerror or error}",
            cause="The DNS has no such name, or this host does not ask the right DNS",
            mend=f"getent hosts {host}; correct `http.url` or the DNS",
        ) from None
    return f"{host} is {', '.join(sorted({str(entry[4][0]) for entry in found}))}"


def _listener(patient: Patient) -> str:
    http = patient.settings.http
    return _reach(
        _EVERYWHERE.get(http.host, http.host),
        http.port,
        cause="The server does not run, or could not take the port",
        mend="sv status dirac-server-1; sv start dirac-server-1 (or: dirac-server up), and look into its log",
    )


def _url(patient: Patient) -> str:
    parts = urlsplit(patient.settings.http.url)
    return _reach(
        parts.hostname or "",
        parts.port or (443 if parts.scheme == "https" else 80),
        cause="The name is of another host, or HAProxy or a firewall in between does not let this through",
        mend=f"curl -v {patient.settings.http.url}/api/health/ready; look at HAProxy and the firewall",
    )


def _reach(host: str, port: int, *, cause: str, mend: str) -> str:
    try:
        with socket.create_connection((host, port), timeout=_PATIENCE):
            return f"{host}:{port} answers"
    except OSError as error:
        raise Ailment(
            f"{host}:{port} does not answer: {error.strerror or error}", cause=cause, mend=mend
        ) from None
