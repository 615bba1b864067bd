"""A certificate authority of a test's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_USES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """Signs certificates, which it puts into a directory.

    Args:
        directory: Where to; holds `ca.pem` from the beginning.
        name: Its own.
    """

    def __init__(self, directory: Path, name: str = "Test authority") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.ca = directory / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        now = datetime.now(UTC)
        builder = self._builder(self._name, self._key.public_key(), now, now + timedelta(days=1000))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = dict.fromkeys(
            (
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = builder.add_extension(
            x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def certificate(self, *names: str, days: float = 365, stem: str = "") -> tuple[Path, Path]:
        """Make a certificate for these hosts or addresses; return its file and that of its key.

        Args:
            names: What it is for; without any, this machine.
            days: How long from now it is good; none or less for one that has expired.
            stem: Name of the files, without `.pem` and `.key`; else the serial number.
        """
        names = names or ("localhost", "127.0.0.1")
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        begin = now - timedelta(days=1) + min(timedelta(days=days), timedelta(0))
        builder = self._builder(_name(names[0]), key.public_key(), begin, now + timedelta(days=days))
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
        ).add_extension(x509.ExtendedKeyUsage(_USES), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        stem = stem or f"{certificate.serial_number:x}"
        files = self.directory / f"{stem}.pem", self.directory / f"{stem}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].touch(0o600)
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def person(self, name: str, *, days: float = 365) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Make the certificate of a person or a VOMS server, ``/C=ch/O=DIRAC/CN=name``, and its key."""
        parts = (
            (NameOID.COUNTRY_NAME, "ch"),
            (NameOID.ORGANIZATION_NAME, "DIRAC"),
            (NameOID.COMMON_NAME, name),
        )
        subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        begin, end = now - timedelta(days=1 - min(days, 0)), now + timedelta(days=days)
        return self._builder(subject, key.public_key(), begin, end).sign(self._key, hashes.SHA256()), key

    def revoke(self, *revoked: x509.Certificate, days: float = 7, file: str = "ca.r0") -> Path:
        """Write a list of revoked certificates, which is good for so many days; return its file."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now - timedelta(days=2 - min(days, 0)))
            .next_update(now + timedelta(days=days))
        )
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        path = self.directory / file
        fresh = path.with_suffix(".new")
        fresh.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return fresh.replace(path)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime, end: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
