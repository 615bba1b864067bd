# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible action: look at a host's certificate, sign one on the controller if needed, put it in place."""

from __future__ import annotations

import datetime

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

DOCUMENTATION = r"""
module: pki_certificate
short_description: Have a host certificate that is right
description:
  - Runs C(pki_host) on the host, which answers a signing request if its certificate is not right.
  - The request is signed here with I(ca_key), which never leaves the controller.
options:
  ca_certificate: {description: The authority's certificate (PEM), type: str, required: true}
  ca_key: {description: Its key; empty if a certificate is given, type: str, default: ''}
  days: {description: Days for which to sign, type: int, default: 365}
  others: {description: All others are those of C(pki_host)}
"""


class ActionModule(ActionBase):
    """The action."""

    def run(self, tmp=None, task_vars=None):
        """Run it."""
        super().run(tmp, task_vars)
        given = dict(self._task.args)
        key, days = given.pop("ca_key", ""), int(given.pop("days", 365))
        given["sign"] = bool(key)
        looked = self._execute_module("pki_host", module_args={**given, "action": "put"}, task_vars=task_vars)
        if looked.get("failed") or not looked.get("request"):
            return looked
        try:
            require_lasting(given["ca_certificate"], int(given.get("renew_before_days", 30)))
            certificate = sign(looked["request"], given["ca_certificate"], key, days)
        except ValueError as error:
            raise AnsibleActionFail(f"the certificate cannot be signed: {error}") from None
        signed = {**given, "action": "put", "certificate": certificate}
        done = self._execute_module("pki_host", module_args=signed, task_vars=task_vars)
        done["reasons"] = looked["reasons"]
        return done


def require_lasting(ca_certificate: str, days: int) -> None:
    """Check that the authority outlives the certificates that it is to sign.

    Raises:
        ValueError: It ends so soon that they would be due for renewal at once.
    """
    end = x509.load_pem_x509_certificate(ca_certificate.encode()).not_valid_after_utc
    if end < datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days):
        raise ValueError(f"the authority itself ends on {end:%Y-%m-%d}; the site needs a new one")


def sign(request: str, ca_certificate: str, ca_key: str, days: int) -> str:
    """Return a certificate (PEM) for servers and clients.

    Of the request only the key, the subject and the names are taken over, so that a host cannot ask to become
    an authority.

    Args:
        request: Certificate signing request (PEM), signed by the key that it is for.
        days: Days from now that the certificate is valid, but not longer than the authority's own.

    Raises:
        ValueError: A text is not what it should be, or the key is not the authority's.
    """
    asked = x509.load_pem_x509_csr(request.encode())
    issuer = x509.load_pem_x509_certificate(ca_certificate.encode())
    key = serialization.load_pem_private_key(ca_key.encode(), password=None)
    if key.public_key() != issuer.public_key():
        raise ValueError("pki_ca_key does not belong to pki_ca_certificate")
    if not asked.is_signature_valid:
        raise ValueError("the host's request is not signed by its key")
    now = datetime.datetime.now(datetime.UTC)
    end = min(now + datetime.timedelta(days=days), issuer.not_valid_after_utc)
    if end <= now:
        raise ValueError(f"the authority's certificate has ended on {issuer.not_valid_after_utc:%Y-%m-%d}")
    names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    public = asked.public_key()
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        x509.CertificateBuilder()
        .subject_name(asked.subject)
        .issuer_name(issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=10))  # clocks differ
        .not_valid_after(end)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False
        )
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _usage() -> x509.KeyUsage:
    no = dict.fromkeys(
        ["content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"], False
    )
    return x509.KeyUsage(
        digital_signature=True, key_encipherment=True, encipher_only=False, decipher_only=False, **no
    )
