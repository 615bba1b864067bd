"""The certificate that the server shows: whole, for its name, good for a while, and believed.

And the authorities of the certificates that clients show: there, good for a while, their lists up to date.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from dirac.server.doctor.model import Ailment, Check, Patient, in_thread
from dirac.server.settings import Settings
from dirac.transport.tls import client_context, not_after, server_context


def checks(patient: Patient) -> list[Check]:
    """Return the checks of the certificate; none if the server does not speak TLS."""
    http = patient.settings.http
    if http.tls_certificate is None or http.tls_key is None:
        return []
    return [
        Check("tls.key", in_thread(_key)),
        Check("tls.chain", in_thread(_chain)),
        Check("tls.expiry", in_thread(_expiry)),
        *([Check("tls.clients", in_thread(_clients))] if http.tls_client_ca is not None else []),
    ]


def _key(patient: Patient) -> str:
    patient.settings.http_tls()
    return "certificate and key belong together"


def _chain(patient: Patient) -> str:
    files = _files(patient.settings)
    host = urlsplit(patient.settings.http.url).hostname or ""
    if fault := refused(*files, host):
        raise Ailment(
            f"clients refuse {files[0]}: {fault}",
            cause=f"It is not for {host}, has expired, or its authority is not in this host's trust store",
            mend=f"Get a certificate for {host} (playbook reconfigure, role pki), or trust its authority: "
            "put it into /usr/local/share/ca-certificates and run update-ca-certificates",
        )
    return f"believed for {host}"


def _expiry(patient: Patient) -> str:
    certificate = _files(patient.settings)[0]
    end = not_after(certificate)
    days = (end - datetime.now(UTC)).days
    if days < patient.settings.expiry.days:
        raise Ailment(
            f"{certificate} expires at {end:%Y-%m-%d %H:%M} UTC, in {days} days",
            cause="It was not renewed",
            mend="Renew it: ansible-playbook playbooks/reconfigure.yml, or as your authority wants it",
        )
    return f"good for {days} days"


def _clients(patient: Patient) -> str:
    authorities = patient.settings.client_authorities()
    assert authorities is not None  # noqa: S101 - else there is no such check
    ends, due = authorities.expiries()
    now = datetime.now(UTC)
    if due is not None and due <= now:
        raise Ailment(
            f"a list of revoked certificates was to be renewed at {due:%Y-%m-%d %H:%M}: {authorities.place}",
            cause="All certificates of its authority are refused, because a new list may name them",
            mend="Renew the lists: fetch-crl, and see why its timer does not",
        )
    if ends is not None and (ends - now).days < patient.settings.expiry.days:
        raise Ailment(
            f"an authority in {authorities.place} expires at {ends:%Y-%m-%d %H:%M} UTC",
            cause="It was not replaced; its users will be refused",
            mend="Install the newest release of your authorities (IGTF), or remove that one",
            passable=True,
        )
    lists = (
        f"lists are due from {due:%Y-%m-%d %H:%M} UTC on"
        if due
        else "no authority has a list of revoked ones"
    )
    return f"clients may show certificates; {lists}"


def refused(certificate: Path, key: Path, host: str, ca_file: Path | None = None) -> str | None:
    """Shake hands with ourselves; return why a client would not believe the certificate, None if it would.

    Args:
        certificate: PEM of the certificate and its chain.
        key: PEM of its key.
        host: What the client wants to speak to.
        ca_file: Authorities to believe besides those of this machine.

    Raises:
        InvalidInputError: The files cannot be used at all.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    listener = server_context(certificate, key, None, demand=False)
    server = listener.wrap_bio(to_server, to_client, server_side=True)
    client = client_context(ca_file).wrap_bio(to_client, to_server, server_hostname=host)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
    return None


def _files(settings: Settings) -> tuple[Path, Path]:
    return settings.path(settings.http.tls_certificate or ""), settings.path(settings.http.tls_key or "")
