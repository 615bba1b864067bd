"""VOMS: attribute certificates (RFC 5755) in a proxy, which say what its bearer is in a VO.

An attribute certificate is signed by a VOMS server. Which one speaks for which VO, the files of a `vomsdir`
say: `<vo>/<host>.lsc` has the names of the server's certificate and of those above it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from dirac.core.errors import InvalidInputError
from dirac.formats.x509 import der, names
from dirac.formats.x509.proxy import VOMS, Chain, PrivateKey

_FQANS = "1.3.6.1.4.1.8005.100.100.4"
_CERTIFICATES = "1.3.6.1.4.1.8005.100.100.10"
_MOST = 8  # attribute certificates in one proxy
_DIRECTORY_NAME, _URI = 0xA4, 0x86
_NO_REVOCATION = "2.5.29.56"

_RSA = {
    "1.2.840.113549.1.1.11": hashes.SHA256(),
    "1.2.840.113549.1.1.12": hashes.SHA384(),
    "1.2.840.113549.1.1.13": hashes.SHA512(),
}
_EC = {
    "1.2.840.10045.4.3.2": hashes.SHA256(),
    "1.2.840.10045.4.3.3": hashes.SHA384(),
    "1.2.840.10045.4.3.4": hashes.SHA512(),
}

Lsc = tuple[str, ...]
"""The names of a server's certificate, of its issuer, and so on."""


class Attributes(NamedTuple):
    """What one attribute certificate says.

    Attributes:
        vo: The VO.
        fqans: Groups and roles in it, the primary one first: ``/vo/group/Role=role``.
        server: ``host:port`` of the VOMS server; empty if it does not say.
        holder: DER of the issuer's name, and serial number, of the certificate that it is about.
        issuer: DER of the server's name.
        not_before: When it begins.
        not_after: When it ends.
        signers: The server's certificate, and what leads to its authority.
        signed: The bytes that are signed.
        algorithm: How.
        signature: The signature.
    """

    vo: str
    fqans: tuple[str, ...]
    server: str
    holder: tuple[bytes, int]
    issuer: bytes
    not_before: datetime
    not_after: datetime
    signers: tuple[x509.Certificate, ...]
    signed: bytes
    algorithm: str
    signature: bytes

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the FQANs without ``Role=NULL`` and ``Capability=NULL``, each once."""
        short = (one.replace("/Capability=NULL", "").removesuffix("/Role=NULL") for one in self.fqans)
        return tuple(dict.fromkeys(short))


def read(chain: Chain) -> list[Attributes]:
    """Return what the attribute certificates of a chain say; nothing of it is verified.

    Those of the proxy nearest to its bearer count, because it may leave out what the one before it had.

    Raises:
        InvalidInputError: They cannot be understood.
    """
    for proxy in chain.proxies:
        found = names.extension(proxy, VOMS)
        if found is not None:
            outer = der.read(found).expect(der.SEQUENCE).children()
            raw = [each for one in outer for each in _unwrapped(one)]
            if len(raw) > _MOST:
                raise InvalidInputError(f"a proxy with {len(raw)} attribute certificates")
            return [_attributes(one) for one in raw]
    return []


def _unwrapped(value: der.Value) -> list[der.Value]:
    """Return the certificates of a list; VOMS has lists in a list, and old versions have not."""
    first = value.expect(der.SEQUENCE).children()
    grand = first[0].children() if first and first[0].tag == der.SEQUENCE else []
    is_one = bool(grand) and grand[0].tag == der.INTEGER
    return [value] if is_one else first


def _attributes(value: der.Value) -> Attributes:
    outer = der.Fields(value.expect(der.SEQUENCE))
    info, algorithm = outer.take(der.SEQUENCE), outer.take(der.SEQUENCE)
    bits = outer.take(der.BIT_STRING).content
    outer.end()
    if bits[:1] != b"\0":
        raise InvalidInputError("the signature of an attribute certificate is no number of bytes")
    fields = der.Fields(info)
    if der.integer(fields.take(der.INTEGER)) != 1:
        raise InvalidInputError("an attribute certificate of a version that is not known")
    holder = _holder(fields.take(der.SEQUENCE))
    issuer = _issuer(fields.take(0xA0))
    if fields.take(der.SEQUENCE).raw != algorithm.raw:
        raise InvalidInputError("an attribute certificate names two algorithms")
    fields.take(der.INTEGER)
    validity = der.Fields(fields.take(der.SEQUENCE))
    not_before, not_after = (der.time(validity.take(der.GENERALIZED_TIME)) for _ in range(2))
    vo, server, fqans = _fqans(fields.take(der.SEQUENCE))
    fields.maybe(der.BIT_STRING)
    signers = _signers(fields.maybe(der.SEQUENCE))
    fields.end()
    return Attributes(
        vo=vo,
        fqans=fqans,
        server=server,
        holder=holder,
        issuer=issuer,
        not_before=not_before,
        not_after=not_after,
        signers=signers,
        signed=info.raw,
        algorithm=der.oid(der.Fields(algorithm).take(der.OID)),
        signature=bits[1:],
    )


def _holder(value: der.Value) -> tuple[bytes, int]:
    """Return the issuer and serial number of the holder's certificate (`baseCertificateID`)."""
    fields = der.Fields(der.Fields(value).take(0xA0))
    return _directory_name(fields.take(der.SEQUENCE)), der.integer(fields.take(der.INTEGER))


def _issuer(value: der.Value) -> bytes:
    return _directory_name(der.Fields(value).take(der.SEQUENCE))


def _directory_name(general_names: der.Value) -> bytes:
    """Return the DER of the one name that is a distinguished name."""
    found = [one.content for one in general_names.children() if one.tag == _DIRECTORY_NAME]
    if len(found) != 1:
        raise InvalidInputError(f"an attribute certificate has {len(found)} names in place of one")
    return found[0]


def _fqans(attributes: der.Value) -> tuple[str, str, tuple[str, ...]]:
    """Return VO, server and FQANs of the attribute of VOMS."""
    for one in attributes.children():
        fields = der.Fields(one.expect(der.SEQUENCE))
        if der.oid(fields.take(der.OID)) != _FQANS:
            continue
        parts = der.Fields(der.Fields(fields.take(der.SET)).take(der.SEQUENCE))
        authority = parts.maybe(0xA0)
        uris = [der.text(name) for name in authority.children() if name.tag == _URI] if authority else []
        values = parts.take(der.SEQUENCE).children()
        fqans = tuple(der.text(value.expect(der.OCTET_STRING)) for value in values)
        return *_authority(uris, fqans), fqans
    raise InvalidInputError("an attribute certificate without FQANs")


def _authority(uris: Sequence[str], fqans: Sequence[str]) -> tuple[str, str]:
    """Return VO and server, and see that all FQANs are of that VO."""
    if not fqans:
        raise InvalidInputError("an attribute certificate without FQANs")
    vo, _, server = uris[0].partition("://") if uris else ("", "", "")
    vo = vo or fqans[0].split("/")[1 if fqans[0].startswith("/") else 0]
    for one in fqans:
        if not one.isprintable() or not (one == f"/{vo}" or one.startswith(f"/{vo}/")):
            raise InvalidInputError(f"the FQAN {one[:80]!r} is not of the VO {vo[:80]!r}")
    return vo, server


def _signers(value: der.Value | None) -> tuple[x509.Certificate, ...]:
    """Return the certificates among the extensions, and refuse what must be understood and is not."""
    found: tuple[x509.Certificate, ...] = ()
    for one in value.children() if value is not None else ():
        fields = der.Fields(one.expect(der.SEQUENCE))
        oid = der.oid(fields.take(der.OID))
        critical = fields.maybe(0x01)
        content = fields.take(der.OCTET_STRING).content
        if oid == _CERTIFICATES:
            listed = der.read(content).expect(der.SEQUENCE).children()
            # VOMS has a list in a list.
            if len(listed) == 1 and listed[0].children()[:1] and not _is_certificate(listed[0]):
                listed = listed[0].children()
            if len(listed) > names.MOST_CERTIFICATES:
                raise InvalidInputError("an attribute certificate with too many certificates")
            found = tuple(names.certificate(each.raw) for each in listed)
        elif critical is not None and critical.content != b"\0":
            raise InvalidInputError(f"an attribute certificate with the critical extension {oid}")
    return found


def _is_certificate(value: der.Value) -> bool:
    """Tell a certificate (which ends with a signature) from a list of them."""
    return value.children()[-1].tag == der.BIT_STRING


def verify(found: Attributes, chain: Chain, lsc: Sequence[Lsc], now: datetime) -> None:
    """See that attributes are those of a chain's user, in force, and signed by a server of their VO.

    That the server's own certificate is good is for the caller to see: `found.signers`.

    Args:
        found: The attributes.
        chain: The chain that they came in.
        lsc: What the files of the VO's vomsdir say.
        now: The time.

    Raises:
        InvalidInputError: They are not.
    """
    end_entity = chain.end_entity
    if found.holder != (_issuer_bytes(end_entity), end_entity.serial_number):
        raise InvalidInputError("the attributes of VOMS are those of another certificate")
    if not found.not_before <= now < found.not_after:
        span = f"{found.not_before:%Y-%m-%d %H:%M} to {found.not_after:%Y-%m-%d %H:%M} UTC"
        raise InvalidInputError(f"the attributes of VOMS are good from {span}", hint="Ask VOMS for new ones")
    if not found.signers:
        raise InvalidInputError("the attributes of VOMS come without their server's certificate")
    line = (*(_name(one) for one in found.signers), names.slash_form(names.issuer(found.signers[-1])))
    if not any(_fits(each, line) for each in lsc):
        raise InvalidInputError(
            f"{line[0]} is no server of the VO {found.vo!r} here",
            hint=f"The vomsdir needs a file {found.vo}/<host>.lsc with its name and that of its issuer",
        )
    for one, above in pairwise(found.signers):
        try:
            one.verify_directly_issued_by(above)
        except (InvalidSignature, *names.UNREADABLE):
            raise InvalidInputError("the certificates of the VOMS server do not fit together") from None
    if _subject_bytes(found.signers[0]) != found.issuer:
        raise InvalidInputError("the attributes of VOMS are signed by another than they say")
    _check_signature(found)


def _fits(lsc: Lsc, line: Lsc) -> bool:
    """Tell whether the names of a file are those that a chain begins with, the server's and an issuer's."""
    common = min(len(lsc), len(line))
    return common > 1 and line[:common] == lsc[:common]


def _check_signature(found: Attributes) -> None:
    key = names.public_key(found.signers[0])
    try:
        if isinstance(key, rsa.RSAPublicKey) and found.algorithm in _RSA:
            key.verify(found.signature, found.signed, padding.PKCS1v15(), _RSA[found.algorithm])
            return
        if isinstance(key, ec.EllipticCurvePublicKey) and found.algorithm in _EC:
            key.verify(found.signature, found.signed, ec.ECDSA(_EC[found.algorithm]))
            return
    except (InvalidSignature, *names.UNREADABLE):
        raise InvalidInputError("the signature of the attributes of VOMS is wrong") from None
    raise InvalidInputError(
        f"the attributes of VOMS are signed with {found.algorithm}, which is not accepted"
    )


def lsc_chains(content: str) -> list[Lsc]:
    """Read a file of a vomsdir: names from the server's on, one a line; several chains may follow."""
    chains: list[list[str]] = [[]]
    for line in content.splitlines():
        text = line.strip()
        if text.upper().strip("- ") == "NEXT CHAIN":
            chains.append([])
        elif text.startswith("/"):
            chains[-1].append(text)
    return [tuple(chain) for chain in chains if chain]


def _name(one: x509.Certificate) -> str:
    return names.slash_form(names.subject(one))


def _tbs(one: x509.Certificate) -> list[der.Value]:
    """Return the fields of what is signed in a certificate, without its version."""
    fields = der.read(one.tbs_certificate_bytes).children()
    return fields[1:] if fields[0].tag == 0xA0 else fields


def _issuer_bytes(one: x509.Certificate) -> bytes:
    return _tbs(one)[2].raw


def _subject_bytes(one: x509.Certificate) -> bytes:
    return _tbs(one)[4].raw


def make(
    holder: x509.Certificate,
    signers: Sequence[x509.Certificate],
    key: PrivateKey,
    *,
    vo: str,
    server: str,
    fqans: Sequence[str],
    serial: int,
    not_before: datetime,
    not_after: datetime,
) -> bytes:
    """Make what the extension of a proxy holds: one attribute certificate, as a VOMS server does.

    Args:
        holder: Whose attributes they are.
        signers: The server's certificate and, if any, what is between it and its authority.
        key: The server's key.
        vo: The VO.
        server: ``host:port`` of the server.
        fqans: Groups and roles.
        serial: Serial number.
        not_before: When it begins.
        not_after: When it ends.
    """
    algorithm, sign = _signing(key)
    info = der.sequence(
        der.write_integer(1),
        der.sequence(
            der.sequence(_named(_issuer_bytes(holder)), der.write_integer(holder.serial_number), tag=0xA0)
        ),
        der.sequence(_named(_subject_bytes(signers[0])), tag=0xA0),
        algorithm,
        der.write_integer(serial),
        der.sequence(der.write_time(not_before), der.write_time(not_after)),
        der.sequence(_attribute(f"{vo}://{server}", fqans)),
        der.sequence(
            _extension(_NO_REVOCATION, der.write(der.NULL, b"")),
            _extension(_CERTIFICATES, der.sequence(der.sequence(*(_raw(one) for one in signers)))),
        ),
    )
    signature = der.write(der.BIT_STRING, b"\0" + sign(info))
    return der.sequence(der.sequence(der.sequence(info, algorithm, signature)))


def _signing(key: PrivateKey) -> tuple[bytes, Callable[[bytes], bytes]]:
    """Return the name of the algorithm that a key signs with, and what signs."""
    if isinstance(key, rsa.RSAPrivateKey):
        known = next(oid for oid, each in _RSA.items() if isinstance(each, hashes.SHA256))
        algorithm = der.sequence(der.write_oid(known), der.write(der.NULL, b""))
        return algorithm, lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    known = next(oid for oid, each in _EC.items() if isinstance(each, hashes.SHA256))
    return der.sequence(der.write_oid(known)), lambda data: key.sign(data, ec.ECDSA(hashes.SHA256()))


def _named(name: bytes) -> bytes:
    return der.sequence(der.write(_DIRECTORY_NAME, name))


def _attribute(authority: str, fqans: Sequence[str]) -> bytes:
    values = der.sequence(*(der.write(der.OCTET_STRING, one.encode()) for one in fqans))
    syntax = der.sequence(der.sequence(der.write(_URI, authority.encode()), tag=0xA0), values)
    return der.sequence(der.write_oid(_FQANS), der.sequence(syntax, tag=der.SET))


def _extension(oid: str, content: bytes) -> bytes:
    return der.sequence(der.write_oid(oid), der.write(der.OCTET_STRING, content))


def _raw(one: x509.Certificate) -> bytes:
    return one.public_bytes(Encoding.DER)
