"""Proxy certificates: RFC 3820, the drafts and the older form of Globus, with DIRAC's group.

A proxy is signed by its user's certificate, or by another proxy, and has its name and one more CN.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from dirac.core.errors import InvalidInputError
from dirac.formats.x509 import der, names

PROXY_CERT_INFO = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")
_DRAFT_CERT_INFO = x509.ObjectIdentifier("1.3.6.1.4.1.3536.1.222")
GROUP = x509.ObjectIdentifier("1.2.42.42")
VOMS = x509.ObjectIdentifier("1.3.6.1.4.1.8005.100.100.5")
INHERIT_ALL, LIMITED = "1.3.6.1.5.5.7.21.1", "1.3.6.1.4.1.3536.1.1.1.9"

BACKDATED = timedelta(minutes=15)
"""A proxy begins this long ago, because clocks differ."""
KEY_BITS = 2048
_SMALLEST_KEY = 2048
_LONGEST_GROUP = 64
_LEGACY = {"proxy": False, "limited proxy": True}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class Kind(StrEnum):
    """How a proxy says that it is one."""

    RFC3820 = "RFC 3820"
    DRAFT = "draft"
    LEGACY = "legacy"


class Step(NamedTuple):
    """One proxy: how it says so, whether it is limited, and how many may follow (None for any number)."""

    kind: Kind
    limited: bool
    path_length: int | None


class Chain(NamedTuple):
    """A certificate and, if it is a proxy, those that lead to its user's.

    Attributes:
        proxies: The proxies, the last one first; none for a plain certificate.
        end_entity: The certificate of the user or host.
        authorities: What followed it.
        steps: What each of the proxies is.
        subject: Who it is: the name of `end_entity`.
        group: DIRAC's group, None if no proxy names one.
        not_before: When all of it is good.
        not_after: When the first of it ends.
    """

    proxies: tuple[x509.Certificate, ...]
    end_entity: x509.Certificate
    authorities: tuple[x509.Certificate, ...]
    steps: tuple[Step, ...]
    subject: str
    group: str | None
    not_before: datetime
    not_after: datetime

    @property
    def limited(self) -> bool:
        """Tell whether any of the proxies is limited: then all that follow are."""
        return any(step.limited for step in self.steps)

    @property
    def leaf(self) -> x509.Certificate:
        """Return the certificate whose key its bearer has."""
        return self.proxies[0] if self.proxies else self.end_entity

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Return all of it, as it is sent."""
        return (*self.proxies, self.end_entity, *self.authorities)


def chain(certificates: Sequence[x509.Certificate]) -> Chain:
    """Understand a chain, leaf first, and check the signatures of its proxies.

    Whether anybody believes its user's certificate, and whether it has expired, is for others to say.

    Raises:
        InvalidInputError: It is none, or breaks a rule of RFC 3820, section 3 or 4.
    """
    if not certificates:
        raise InvalidInputError("a chain of no certificates")
    steps: list[Step] = []
    for one in certificates:
        step = _step(one)
        if step is None:
            break
        steps.append(step)
    count = len(steps)
    if count == len(certificates):
        raise InvalidInputError("the certificate of the proxy's user is missing in the chain")
    proxies, end_entity = tuple(certificates[:count]), certificates[count]
    for proxy, signer in pairwise((*proxies, end_entity)):
        _check_step(proxy, signer)
    for place, step in enumerate(steps):
        if step.path_length is not None and place > step.path_length:
            raise InvalidInputError(f"{place} proxies follow one that allows {step.path_length}")
    if len({step.kind for step in steps}) > 1:
        raise InvalidInputError("proxies of different kinds follow one another")
    own = (*proxies, end_entity)
    return Chain(
        proxies=proxies,
        end_entity=end_entity,
        authorities=tuple(certificates[count + 1 :]),
        steps=tuple(steps),
        subject=names.slash_form(names.subject(end_entity)),
        group=_group(own),
        not_before=max(one.not_valid_before_utc for one in own),
        not_after=min(one.not_valid_after_utc for one in own),
    )


def _step(one: x509.Certificate) -> Step | None:
    """Say what kind of proxy a certificate is, None for one that is none."""
    for oid, kind in ((PROXY_CERT_INFO, Kind.RFC3820), (_DRAFT_CERT_INFO, Kind.DRAFT)):
        info = names.extension(one, oid)
        if info is not None:
            return _cert_info(info, kind)
    subject, issuer = list(names.subject(one).rdns), list(names.issuer(one).rdns)
    if subject[:-1] == issuer and subject:
        last = [attribute.value for attribute in subject[-1] if attribute.oid == NameOID.COMMON_NAME]
        if len(last) == 1 and last[0] in _LEGACY:
            return Step(Kind.LEGACY, _LEGACY[str(last[0])], None)
    return None


def _cert_info(info: bytes, kind: Kind) -> Step:
    fields = der.Fields(der.read(info).expect(der.SEQUENCE))
    # The draft had the length behind the policy, with a tag of its own.
    before = fields.maybe(der.INTEGER)
    policy = der.Fields(fields.take(der.SEQUENCE))
    after = fields.maybe(0xA1)
    fields.end()
    language = der.oid(policy.take(der.OID))
    if language not in (INHERIT_ALL, LIMITED):
        raise InvalidInputError(
            f"a proxy with the policy {language}", hint="Make one that inherits all rights, or a limited one"
        )
    length = der.integer(before) if before is not None else None
    if after is not None:
        length = der.integer(der.read(after.content))
    if length is not None and length < 0:
        raise InvalidInputError("a proxy allows a negative number of others")
    return Step(kind, language == LIMITED, length)


def _check_step(proxy: x509.Certificate, signer: x509.Certificate) -> None:
    subject, above = list(names.subject(proxy).rdns), list(names.subject(signer).rdns)
    last = list(subject[-1]) if subject else []
    if subject[:-1] != above or len(last) != 1 or last[0].oid != NameOID.COMMON_NAME:
        raise InvalidInputError("a proxy's name is not that of its signer and one more CN")
    try:
        proxy.verify_directly_issued_by(signer)
    except (InvalidSignature, *names.UNREADABLE):
        raise InvalidInputError("a proxy is not signed by the certificate that follows it") from None
    for extension in names.extensions(proxy):
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise InvalidInputError("a proxy says that it is an authority")
    for extension in names.extensions(signer):
        value = extension.value
        if isinstance(value, x509.KeyUsage) and not value.digital_signature:
            raise InvalidInputError("a proxy is signed by a certificate that is not for signing")
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise InvalidInputError("a proxy is signed by an authority")


def _group(own: Sequence[x509.Certificate]) -> str | None:
    """Return the group that the first proxy after the user's certificate names: later ones change nothing."""
    for one in reversed(own):
        found = names.extension(one, GROUP)
        if found is not None:
            value = der.read(found)
            if value.tag not in (der.IA5, der.UTF8, der.PRINTABLE):
                raise InvalidInputError("a proxy's group is no text")
            group = der.text(value)
            if not 0 < len(group) <= _LONGEST_GROUP or not group.isprintable():
                raise InvalidInputError(f"a proxy's group has {len(group)} characters")
            return group
    return None


def make_key() -> rsa.RSAPrivateKey:
    """Make a key for a proxy."""
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def make_request(key: PrivateKey) -> bytes:
    """Return a request (PKCS #10, PEM) for a proxy of this key; who signs it says what it is called."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM)


def read_request(pem: bytes) -> PublicKey:
    """Return the public key of a request whose sender has proved to have the private one.

    Raises:
        InvalidInputError: It is no request, its signature is wrong, or its key is too small.
    """
    try:
        request = x509.load_pem_x509_csr(pem[: names.LONGEST_PEM])
        key, good = request.public_key(), request.is_signature_valid
    except names.UNREADABLE as error:
        raise InvalidInputError(f"this is no request for a certificate (PEM): {error}"[:300]) from None
    if not good:
        raise InvalidInputError("the request for a certificate is not signed with its key")
    return _strong(key)


def _strong(key: object) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_KEY:
        return key
    raise InvalidInputError(
        "the key of a proxy is too weak, or of a kind that grids do not know",
        hint=f"RSA with {_SMALLEST_KEY} bits or more, or an elliptic curve",
    )


def sign(
    issuer: Chain,
    issuer_key: PrivateKey,
    key: PublicKey,
    *,
    serial: int,
    now: datetime,
    life: timedelta,
    limited: bool = False,
    group: str | None = None,
    path_length: int | None = None,
    attributes: bytes | None = None,
) -> Chain:
    """Make a proxy; it ends with its issuer at the latest.

    Args:
        issuer: Whose proxy it is.
        issuer_key: The private key of its leaf.
        key: The key that it is for.
        serial: A random number: part of its name.
        now: The time.
        life: How long it is good.
        limited: Whether it is limited; a proxy of a limited one is.
        group: DIRAC's group, if the issuer has none yet.
        path_length: How many proxies may follow; None for any number.
        attributes: Attribute certificates of VOMS, as `dirac.formats.x509.voms` makes them.

    Raises:
        InvalidInputError: The issuer has expired, is a proxy of an older kind, or has another group.
    """
    if issuer.not_after <= now:
        raise InvalidInputError(f"{issuer.subject} has expired at {issuer.not_after:%Y-%m-%d %H:%M} UTC")
    if any(step.kind is not Kind.RFC3820 for step in issuer.steps):
        raise InvalidInputError("a proxy of an older kind cannot be delegated", hint="Make one of RFC 3820")
    if group is not None and issuer.group not in (None, group):
        raise InvalidInputError(f"the proxy is for the group {issuer.group!r}", hint="It cannot be changed")
    subject = x509.Name(
        [*issuer.leaf.subject.rdns, _rdn(x509.NameAttribute(NameOID.COMMON_NAME, str(serial)))]
    )
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.leaf.subject)
        .public_key(_strong(key))
        .serial_number(serial)
        .not_valid_before(max(now - BACKDATED, issuer.not_before))
        .not_valid_after(min(now + life, issuer.not_after))
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_encipherment=True, data_encipherment=True, **usage),
            critical=True,
        )
        .add_extension(
            x509.UnrecognizedExtension(PROXY_CERT_INFO, _info(limited or issuer.limited, path_length)),
            critical=True,
        )
    )
    if group is not None and issuer.group is None:
        _check_group(group)
        text = x509.UnrecognizedExtension(GROUP, der.write(der.IA5, group.encode()))
        builder = builder.add_extension(text, critical=False)
    if attributes is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(VOMS, attributes), critical=False)
    made = builder.sign(issuer_key, hashes.SHA256())
    return chain((made, *issuer.certificates))


def _check_group(group: str) -> None:
    if not (0 < len(group) <= _LONGEST_GROUP and group.isascii() and group.isprintable()):
        raise InvalidInputError(f"the group {group[:80]!r} cannot be in a proxy", hint="Use 1 to 64 of ASCII")


def _rdn(attribute: x509.NameAttribute[str]) -> x509.RelativeDistinguishedName:
    return x509.RelativeDistinguishedName([attribute])


def _info(limited: bool, path_length: int | None) -> bytes:
    length = b"" if path_length is None else der.write_integer(path_length)
    return der.sequence(length, der.sequence(der.write_oid(LIMITED if limited else INHERIT_ALL)))


def write_key(key: PrivateKey) -> bytes:
    """Return a private key, not encrypted (PEM)."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def read_key(pem: bytes, password: bytes | None = None) -> PrivateKey:
    """Read a private key.

    Raises:
        InvalidInputError: It is none, of another kind, or encrypted with another password.
    """
    try:
        key = load_pem_private_key(pem, password)
    except TypeError:
        reason = "is encrypted" if password is None else "is not encrypted"
        raise InvalidInputError(f"the private key {reason}") from None
    except names.UNREADABLE:
        raise InvalidInputError("this is no private key (PEM), or the password is wrong") from None
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise InvalidInputError("the private key is of a kind that grids do not know", hint="Use RSA")
    return key


def to_pem(made: Chain, key: PrivateKey) -> bytes:
    """Return the text of a proxy's file: the proxy, its key, and what leads to its authority."""
    first, *rest = made.certificates
    return names.to_pem([first]) + write_key(key) + names.to_pem(rest)


def from_pem(pem: bytes) -> tuple[Chain, PrivateKey]:
    """Read the file of a proxy.

    Raises:
        InvalidInputError: It holds none, or not its key.
    """
    found, key = chain(names.certificates(pem)), read_key(pem)
    if names.public_key(found.leaf) != key.public_key():
        raise InvalidInputError("the private key is not that of the certificate")
    return found, key
