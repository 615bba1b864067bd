"""Distinguished names in the form that grids write: ``/C=ch/O=DIRAC/CN=alice``, and texts of PEM."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from dirac.core.errors import InvalidInputError

T = TypeVar("T")

UNREADABLE = (
    *(ValueError, TypeError, OverflowError, UnsupportedAlgorithm),
    *(x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)
"""What `cryptography` raises about content that it cannot read; it has no error above them."""

MOST_CERTIFICATES = 32
LONGEST_PEM = 256 * 1024

# OpenSSL's short names.
_SHORT = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.TITLE: "title",
    NameOID.STREET_ADDRESS: "street",
    NameOID.POSTAL_CODE: "postalCode",
}
_next_type = re.compile(r"/[A-Za-z][A-Za-z0-9]*=|/[0-9.]+=").search


def slash_form(name: x509.Name) -> str:
    """Return a name as OpenSSL's one-line form has it, what is not ASCII in hexadecimal.

    Raises:
        InvalidInputError: A value looks like a further part of a name: in this form, which grids compare,
            the name would be somebody else's.
    """
    parts = []
    for attribute in name:
        kind = _SHORT.get(attribute.oid, attribute.oid.dotted_string)
        value = attribute.value
        raw = value.encode() if isinstance(value, str) else value
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02X}" for byte in raw)
        if _next_type(shown):
            raise InvalidInputError(f"the part {kind}={shown!r} of a certificate's name is ambiguous")
        parts.append(f"/{kind}={shown}")
    return "".join(parts)


def certificates(pem: bytes) -> list[x509.Certificate]:
    """Read all certificates of a text, in their order; what is between them is passed over.

    Raises:
        InvalidInputError: There is none, one cannot be read, or there are more than chains have.
    """
    if len(pem) > LONGEST_PEM:
        raise InvalidInputError(
            f"a chain of certificates has {len(pem)} bytes", hint=f"At most {LONGEST_PEM}"
        )
    try:
        found = x509.load_pem_x509_certificates(pem)
    except UNREADABLE as error:
        raise InvalidInputError(f"there is no certificate (PEM): {_first_line(error)}") from None
    if len(found) > MOST_CERTIFICATES:
        raise InvalidInputError(f"a chain of {len(found)} certificates", hint=f"At most {MOST_CERTIFICATES}")
    return found


def certificate(der: bytes) -> x509.Certificate:
    """Read one certificate.

    Raises:
        InvalidInputError: It is none.
    """
    try:
        return x509.load_der_x509_certificate(der)
    except UNREADABLE as error:
        raise InvalidInputError(f"this is no certificate: {_first_line(error)}") from None


def to_pem(chain: Sequence[x509.Certificate]) -> bytes:
    """Return the text of certificates, in their order."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in chain)


def extensions(one: x509.Certificate) -> x509.Extensions:
    """Return the extensions of a certificate.

    Raises:
        InvalidInputError: They cannot be read.
    """
    return _part("extensions", lambda: one.extensions)


def extension(one: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes | None:
    """Return the DER of an extension that `cryptography` does not know, None if there is none.

    Raises:
        InvalidInputError: The extensions cannot be read.
    """
    for each in extensions(one):
        if each.oid == oid:
            value = each.value
            return value.value if isinstance(value, x509.UnrecognizedExtension) else value.public_bytes()
    return None


def subject(one: x509.Certificate) -> x509.Name:
    """Return the subject of a certificate.

    Raises:
        InvalidInputError: It cannot be read.
    """
    return _part("subject", lambda: one.subject)


def issuer(one: x509.Certificate) -> x509.Name:
    """Return the issuer of a certificate.

    Raises:
        InvalidInputError: It cannot be read.
    """
    return _part("issuer", lambda: one.issuer)


def key_digest(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate's public key (hexadecimal): a signature may have several forms."""
    key = public_key(certificate)
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def public_key(one: x509.Certificate) -> CertificatePublicKeyTypes:
    """Return the key of a certificate.

    Raises:
        InvalidInputError: It is of a kind that nobody knows.
    """
    return _part("key", one.public_key)


def _part(noun: str, read: Callable[[], T]) -> T:
    """Read a part of a certificate, which `cryptography` does only when it is asked for."""
    try:
        return read()
    except UNREADABLE as error:
        raise InvalidInputError(f"the {noun} of a certificate cannot be read: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
