"""Certificate authorities and what they have revoked, from a directory or a file that somebody else renews.

A directory is one like ``/etc/grid-security/certificates``: `*.0` or `*.pem` are certificates, `*.r0` or
`*.crl` lists of revoked ones. What is added, replaced or removed there is noticed without a restart.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from dirac.core.errors import InvalidInputError, UnauthenticatedError
from dirac.formats.x509 import names, proxy, voms

log = logging.getLogger(__name__)

LOOK_EVERY = 10.0
"""Seconds between two looks at the files."""
_LONGEST_PATH = 8
_is_authority = re.compile(r".*\.([0-9]|pem|crt)").fullmatch
_is_list = re.compile(r".*\.(r[0-9]|crl)").fullmatch
_is_vo = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*").fullmatch
_LIST = b"-----BEGIN X509 CRL-----"

State = dict[Path, tuple[int, int, int]]


class Authorities:
    """Whose certificates are believed, and which of them are revoked.

    Args:
        place: Directory, or a file of certificates and lists (PEM).
        now: The time.
        monotonic: Seconds since some moment.

    Attributes:
        version: Raised by each change.

    Raises:
        InvalidInputError: The place cannot be read, or holds no authority.
    """

    def __init__(
        self,
        place: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.place = place
        self.version = 0
        self._now = now
        self._monotonic = monotonic
        self._looking = threading.Lock()
        self._state: State = {}
        self._parsed: dict[Path, tuple[tuple[int, int, int], list[_Item]]] = {}
        self._by_subject: dict[x509.Name, list[x509.Certificate]] = {}
        self._lists: dict[x509.Name, list[x509.CertificateRevocationList]] = {}
        try:
            self._load(self._look())
        except OSError as error:
            raise InvalidInputError(f"{place} cannot be read: {error.strerror}") from None
        if not self._by_subject:
            raise InvalidInputError(f"{place} holds no certificate of an authority (PEM)")
        self._looked = monotonic()

    def refresh(self) -> int:
        """Take up what has changed, if it is time to look; return the version that is then there."""
        now = self._monotonic()
        # Metrics are told by another thread; who comes while it looks takes what is known.
        if now - self._looked >= LOOK_EVERY and self._looking.acquire(blocking=False):
            self._looked = now
            try:
                state = self._look()
                if state != self._state:
                    self._load(state)
            except OSError as error:
                log.warning(
                    "the authorities of %s cannot be read, the known ones go on: %s", self.place, error
                )
            finally:
                self._looking.release()
        return self.version

    def certificates(self) -> bytes:
        """Return the certificates of all authorities, as OpenSSL wants them (DER, one after another)."""
        everybody = (one for several in self._by_subject.values() for one in several)
        return b"".join(one.public_bytes(Encoding.DER) for one in everybody)

    def check(self, certificate: x509.Certificate, between: Sequence[x509.Certificate] = ()) -> None:
        """See that a certificate, which is no proxy, leads to one of these authorities and is not revoked.

        Args:
            certificate: Of a user, host or server.
            between: What may be needed to get to the authority.

        Raises:
            UnauthenticatedError: It does not, has expired, is not valid yet, or is revoked.
        """
        now, current = self._now(), certificate
        for _ in range(_LONGEST_PATH):
            name = names.slash_form(names.subject(current))
            if not current.not_valid_before_utc <= now < current.not_valid_after_utc:
                raise UnauthenticatedError(f"the certificate {name} has expired, or is not valid yet")
            signer = self._signer(current, between)
            if signer is None:
                raise UnauthenticatedError(
                    f"the certificate {name} is of an authority that is not trusted here",
                    hint=f"Its authority: {names.slash_form(names.issuer(current))}",
                )
            self._check_revoked(current, signer, name, now)
            if self._trusts(signer):
                if signer.not_valid_after_utc <= now:
                    raise UnauthenticatedError(f"the authority of the certificate {name} has expired")
                return
            current = signer
        raise UnauthenticatedError("a certificate is too far from its authority")

    def expiries(self) -> tuple[datetime | None, datetime | None]:
        """Return when the first authority expires, and when the first list of revoked ones is due."""
        self.refresh()
        ends = [one.not_valid_after_utc for several in self._by_subject.values() for one in several]
        due = [
            one.next_update_utc
            for several in self._lists.values()
            for one in [max(several, key=_published)]
            if one.next_update_utc is not None
        ]
        return min(ends, default=None), min(due, default=None)

    def _trusts(self, certificate: x509.Certificate) -> bool:
        return certificate in self._by_subject.get(names.subject(certificate), ())

    def _signer(
        self, certificate: x509.Certificate, between: Sequence[x509.Certificate]
    ) -> x509.Certificate | None:
        """Return the authority that signed a certificate: one of ours, or one that came with it."""
        issuer = names.issuer(certificate)
        candidates = [*self._by_subject.get(issuer, ()), *(one for one in between if one.subject == issuer)]
        return next((one for one in candidates if _may_sign(one) and _signed(certificate, one)), None)

    def _check_revoked(
        self, certificate: x509.Certificate, signer: x509.Certificate, name: str, now: datetime
    ) -> None:
        """Refuse what is revoked, and all of an authority whose lists are out of date.

        An authority without a list has nothing to say. Of one that had, news may be kept from us.
        """
        lists = [one for one in self._lists.get(names.subject(signer), ()) if _is_of(one, signer)]
        for one in lists:
            if one.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
                raise UnauthenticatedError(f"the certificate {name} is revoked")
        if lists:
            due = max(lists, key=_published).next_update_utc
            if due is not None and due <= now:
                raise UnauthenticatedError(
                    f"it is not known whether {name} is revoked: the list of its authority "
                    f"was to be renewed at {due:%Y-%m-%d %H:%M} UTC",
                    hint="The operator of the server renews the lists (fetch-crl)",
                )

    def _look(self) -> State:
        files: Iterable[Path] = [self.place]
        if self.place.is_dir():
            files = (one for one in self.place.iterdir() if _is_authority(one.name) or _is_list(one.name))
        state: State = {}
        for file in sorted(files):
            found = file.stat()
            state[file] = (found.st_mtime_ns, found.st_size, found.st_ino)
        return state

    def _load(self, state: State) -> None:
        parsed = {}
        for file, seen in state.items():
            known = self._parsed.get(file)
            parsed[file] = known if known is not None and known[0] == seen else (seen, _read(file))
        subjects: defaultdict[x509.Name, list[x509.Certificate]] = defaultdict(list)
        lists: defaultdict[x509.Name, list[x509.CertificateRevocationList]] = defaultdict(list)
        seen_already: set[bytes] = set()
        for _, items in parsed.values():
            for item in items:
                if isinstance(item, x509.Certificate):
                    # Directories have each certificate twice: by name, and a link by its hash.
                    digest = item.fingerprint(SHA256())
                    if digest not in seen_already:
                        seen_already.add(digest)
                        subjects[item.subject].append(item)
                else:
                    lists[item.issuer].append(item)
        if self._state and not subjects:
            log.warning("%s holds no authority any more; the known ones go on", self.place)
            return
        self._parsed, self._by_subject, self._lists = parsed, dict(subjects), dict(lists)
        self._state = state
        self.version += 1


_Item = x509.Certificate | x509.CertificateRevocationList


def _read(file: Path) -> list[_Item]:
    """Return the certificates and lists of a file; what cannot be read is told and passed over."""
    items: list[_Item] = []
    try:
        content = file.read_bytes()
        if b"-----BEGIN CERTIFICATE-----" in content:
            items += [one for one in x509.load_pem_x509_certificates(content) if names.subject(one)]
        if _LIST in content:
            items += (x509.load_pem_x509_crl(_LIST + part) for part in content.split(_LIST)[1:])
        elif _is_list(file.name):
            items.append(x509.load_der_x509_crl(content))
    except (OSError, InvalidInputError, *names.UNREADABLE) as error:
        log.error("%s is passed over: %s", file, error)
    return items


def _may_sign(one: x509.Certificate) -> bool:
    found = [each.value for each in names.extensions(one)]
    if not any(isinstance(each, x509.BasicConstraints) and each.ca for each in found):
        return one.version is x509.Version.v1 and one.subject == one.issuer
    return all(each.key_cert_sign for each in found if isinstance(each, x509.KeyUsage))


def _signed(certificate: x509.Certificate, signer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(signer)
    except (InvalidSignature, *names.UNREADABLE):
        return False
    return True


def _is_of(one: x509.CertificateRevocationList, signer: x509.Certificate) -> bool:
    try:
        return one.is_signature_valid(signer.public_key())  # type: ignore[arg-type]  # others raise TypeError
    except names.UNREADABLE:
        return False


def _published(one: x509.CertificateRevocationList) -> datetime:
    return one.last_update_utc


class Judged(NamedTuple):
    """What a client's chain says, all of it verified.

    Attributes:
        subject: Name of the user's certificate, or the host's: ``/C=ch/O=DIRAC/CN=alice``.
        fingerprint: SHA-256 of the certificate that was shown, hexadecimal.
        is_proxy: Whether that is a proxy.
        limited: Whether it is a limited one.
        group: DIRAC's group in it, None for none.
        vos: The VOs that VOMS says its bearer is in.
        fqans: Groups and roles in them.
        not_after: When the first part of it ends.
        keys: Digests of the keys of its proxies: signatures may have several forms, a key has one.
    """

    subject: str
    fingerprint: str
    is_proxy: bool
    limited: bool
    group: str | None
    vos: tuple[str, ...]
    fqans: tuple[str, ...]
    not_after: datetime
    keys: tuple[str, ...] = ()


class ChainJudge:
    """Understands and verifies chains of certificates.

    Args:
        authorities: Who is believed.
        vomsdir: Directory with `<vo>/<host>.lsc`, which says whose attributes of VOMS are believed; None to
            take no notice of any.
        now: The time.
    """

    def __init__(
        self,
        authorities: Authorities,
        vomsdir: Path | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.authorities = authorities
        self._vomsdir = vomsdir
        self._now = now

    @property
    def version(self) -> int:
        """Return a number that changes when another judgement is possible."""
        return self.authorities.refresh()

    def judge(self, certificates: Sequence[bytes]) -> Judged:
        """Return what a chain says.

        Args:
            certificates: DER, that of its bearer first.

        Raises:
            UnauthenticatedError: It is not good here.
        """
        try:
            return self._judge([names.certificate(one) for one in certificates])
        except InvalidInputError as error:
            raise UnauthenticatedError(
                f"the certificate is not accepted: {error.message}", hint=error.hint
            ) from None

    def _judge(self, certificates: Sequence[x509.Certificate]) -> Judged:
        chain, now = proxy.chain(certificates), self._now()
        if not chain.not_before <= now < chain.not_after:
            raise UnauthenticatedError(
                f"the certificate of {chain.subject} was good until {chain.not_after:%Y-%m-%d %H:%M} UTC",
                hint="Make another proxy: dirac proxy init",
            )
        self.authorities.check(chain.end_entity, chain.authorities)
        attributes = voms.read(chain) if self._vomsdir is not None else []
        for one in attributes:
            voms.verify(one, chain, self._lsc(one.vo), now)
            self.authorities.check(one.signers[0], one.signers[1:])
        return Judged(
            subject=chain.subject,
            fingerprint=chain.leaf.fingerprint(SHA256()).hex(),
            is_proxy=bool(chain.proxies),
            limited=chain.limited,
            group=chain.group,
            vos=tuple(dict.fromkeys(one.vo for one in attributes)),
            fqans=tuple(fqan for one in attributes for fqan in one.groups),
            not_after=min((chain.not_after, *(one.not_after for one in attributes))),
            keys=tuple(names.key_digest(one) for one in chain.proxies),
        )

    def _lsc(self, vo: str) -> list[voms.Lsc]:
        if self._vomsdir is None or not _is_vo(vo):
            return []
        found: list[voms.Lsc] = []
        for file in sorted((self._vomsdir / vo).glob("*.lsc")):
            try:
                found += voms.lsc_chains(file.read_text("utf-8", "replace"))
            except OSError as error:
                log.error("%s is passed over: %s", file, error)
        return found
