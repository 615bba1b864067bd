"""Making secrets."""

from __future__ import annotations

import secrets
import string
from datetime import UTC, datetime, timedelta

from dirac.cli.site.secrets.table import Kind, Secret

# 32 of these are 190 bits; none of them means something to a shell, a URL, SQL or YAML.
_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 32
_KEY_BYTES = 32
_ACCESS_LENGTH = 20
_YEARS = 10


def make(secret: Secret, site: str) -> dict[str, str]:
    """Make a new value for each name of a secret."""
    match secret.kind:
        case Kind.PASSWORD:
            return {secret.name: _characters(_ALPHABET, _LENGTH)}
        case Kind.KEY:
            # As text of 64 hexadecimal digits: it passes through files and templates unharmed.
            return {secret.name: secrets.token_hex(_KEY_BYTES)}
        case Kind.ACCESS_KEY:
            access, hidden = secret.names
            return {
                access: _characters(string.ascii_uppercase + string.digits, _ACCESS_LENGTH),
                hidden: _characters(_ALPHABET, 40),
            }
        case Kind.CA:
            key, certificate = secret.names
            return dict(zip((key, certificate), authority(site), strict=True))


def _characters(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def authority(site: str, *, now: datetime | None = None) -> tuple[str, str]:
    """Make a certificate authority for a site (RFC 5280): its key and its certificate, both as PEM.

    It signs host certificates only: its path length is zero.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    begin = (now or datetime.now(UTC)).replace(microsecond=0)
    key = ec.generate_private_key(ec.SECP256R1())
    # The serial in the name tells two authorities of one site apart while both are trusted.
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"DIRAC site {site}"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"DIRAC site {site} CA {secrets.token_hex(4)}"),
        ]
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of hosts may be a little behind.
        .not_valid_before(begin - timedelta(hours=1))
        .not_valid_after(begin + timedelta(days=365 * _YEARS + 2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()
