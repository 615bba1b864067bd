"""TLS at both ends: what a listener shows and demands, and whom a client believes.

One place for it, so that no part of DIRAC trusts other authorities, or speaks another TLS, than the rest.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dirac.core.errors import InvalidInputError
from dirac.core.trust import CA_DIRECTORY, CA_FILE

if TYPE_CHECKING:
    from dirac.transport.authorities import Authorities

log = logging.getLogger(__name__)


def client_context(ca_file: str | Path | None = None, certificate: Path | None = None) -> ssl.SSLContext:
    """Return a context that believes this machine's authorities, and those of the site.

    These are OpenSSL's own, which `SSL_CERT_FILE` and `SSL_CERT_DIR` replace; the directory of
    `X509_CERT_DIR`, if set; and the file.

    Args:
        ca_file: Further authorities, as PEM; `DIRAC_CA_FILE` names it if this does not.
        certificate: A certificate or proxy and its key (PEM) to show to servers that ask for one.

    Raises:
        InvalidInputError: A file or the directory cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    directory = os.environ.get(CA_DIRECTORY)
    if directory:
        context.load_verify_locations(capath=directory)
    file = ca_file or os.environ.get(CA_FILE)
    if file:
        load_authorities(context, Path(file), CA_FILE)
    if certificate is not None:
        _readable(certificate, "certificate")
        try:
            context.load_cert_chain(certificate, password=_no_password)
        except ssl.SSLError as error:
            raise InvalidInputError(
                f"{certificate} is no certificate with its key (PEM): {error.reason or error}"
            ) from None
    return context


def server_context(
    certificate: Path,
    key: Path,
    client_ca: Path | None,
    *,
    demand: bool,
    authorities: Authorities | None = None,
) -> ssl.SSLContext:
    """Return a context of a listener: TLS 1.2 or later.

    A certificate that is replaced is shown from the next connection on, without anybody telling the process.

    Args:
        certificate: PEM of the certificate and what leads to its authority.
        key: PEM of its private key, not for everybody.
        client_ca: Authorities of client certificates; None not to ask for any.
        demand: Whether a client without a certificate is refused.
        authorities: Whose certificates, and proxies of them, clients may show; in place of `client_ca`.

    Raises:
        InvalidInputError: A file cannot be read, or they do not fit together.
    """
    files = certificate, key, *([client_ca] if client_ca is not None else [])

    def make() -> ssl.SSLContext:
        made = _listener_context(certificate, key, client_ca, demand=demand)
        if authorities is not None:
            _accept_proxies(made, authorities)
        return made

    context = make()
    version = authorities.refresh if authorities is not None else lambda: 0
    context.sni_callback = _Renewal(files, make, version).look
    return context


def _accept_proxies(context: ssl.SSLContext, authorities: Authorities) -> None:
    """Have clients asked for a certificate, which may be a proxy (RFC 3820).

    Whether it is revoked is asked later (`Authorities.check`): OpenSSL, if it is to look, refuses all
    certificates of an authority that has no list of revoked ones.
    """
    context.load_verify_locations(cadata=authorities.certificates())
    context.verify_mode = ssl.CERT_OPTIONAL
    # Authorities of grids are older than what is strict today; Python switches it on from 3.13.
    flags = context.verify_flags & ~ssl.VerifyFlags.VERIFY_X509_STRICT
    context.verify_flags = flags | ssl.VerifyFlags.VERIFY_ALLOW_PROXY_CERTS
    # A ticket holds the client's certificate and not what it was signed by: a proxy would lose its user.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


class _Renewal:
    """Looks at each handshake, which costs hundreds of times more, whether the certificate was replaced."""

    def __init__(
        self, files: tuple[Path, ...], make: Callable[[], ssl.SSLContext], version: Callable[[], int]
    ) -> None:
        self._files = files
        self._make = make
        self._version = version
        self._seen = self._state()
        self._fresh: ssl.SSLContext | None = None

    def _state(self) -> tuple[int, ...]:
        found = tuple(part for path in self._files for part in (path.stat().st_mtime_ns, path.stat().st_ino))
        return (*found, self._version())

    def look(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Have the connection show the newest certificate that is whole (`SSLContext.sni_callback`)."""
        try:
            state = self._state()
            if state != self._seen:
                self._fresh = self._make()
                self._seen = state
        except (InvalidInputError, OSError) as error:
            # Of two files, one may have been written: until both are there, the old ones do.
            log.warning("the new certificate is not used yet: %s", error)
        if self._fresh is not None:
            connection.context = self._fresh


def _listener_context(
    certificate: Path, key: Path, client_ca: Path | None, *, demand: bool
) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for option, path in (("tls_certificate", certificate), ("tls_key", key)):
        _readable(path, option)
    if key.stat().st_mode & 0o007:
        raise InvalidInputError(f"tls_key: others may use {key}", hint=f"chmod o= {key}")
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InvalidInputError(
                f"tls_key: {key} is not the key of the certificate {certificate}",
                hint="Install the two files that were made together",
            ) from None
        raise InvalidInputError(
            f"tls_certificate: {certificate} and {key} are no certificate with its key (PEM): "
            f"{error.reason or error}"
        ) from None
    if client_ca is not None:
        load_authorities(context, client_ca, "tls_client_ca")
        context.verify_mode = ssl.CERT_REQUIRED if demand else ssl.CERT_OPTIONAL
    return context


def load_authorities(context: ssl.SSLContext, file: Path, option: str) -> None:
    """Make a context believe the authorities of a file.

    Raises:
        InvalidInputError: It cannot be read, or holds no certificate.
    """
    _readable(file, option)
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError as error:
        raise InvalidInputError(f"{option}: {file} holds no certificate (PEM): {error.reason}") from None


def not_after(certificate: Path) -> datetime:
    """Return when the first certificate of a PEM file expires; needs `cryptography`, as servers have it.

    Raises:
        InvalidInputError: It cannot be read, or holds none.
    """
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.astimezone(UTC)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{certificate} holds no certificate (PEM): {error}") from None


def _readable(path: Path, option: str) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise InvalidInputError(f"{option}: {path} cannot be read: {error.strerror}") from None


def _no_password() -> str:
    """Refuse an encrypted key: nobody sits in front of a server to be asked for its password."""
    raise InvalidInputError("tls_key: it is encrypted", hint="Decrypt it: openssl pkey -in KEY -out NEW")
