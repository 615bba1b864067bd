# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the certificates of OpenSearch, where and in the form it can read them."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: opensearch_tls
short_description: Lay down the certificates of OpenSearch, and make its administrator's
description:
  - The security plugin reads certificates below its directory of settings only, and keys as PKCS#8 only.
  - The administrator is a certificate that signs itself, made on the host, trusted by the server of this host
    and readable for root. It cannot sign others. So no password of an administrator is needed to make users.
options:
  directory: {description: The directory of settings, required: true, type: path}
  owner: {description: User of the service, required: true, type: str}
  ca: {description: CA of the site, required: true, type: path}
  certificate: {description: The host's certificate with its chain, required: true, type: path}
  key: {description: The key of it, required: true, type: path}
  subject: {description: Subject of the administrator, required: true, type: str}
"""


def openssl(*words: str) -> str:
    """Run openssl and return its output."""
    return subprocess.run(["openssl", *words], capture_output=True, text=True, check=True).stdout


def make_administrator(certificate: Path, key: Path, subject: str) -> None:
    """Make a certificate that signs itself and nothing else."""
    with tempfile.TemporaryDirectory(dir=certificate.parent) as work:
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "3650", "-subj", subject, "-addext", "basicConstraints=critical,CA:false",
            "-addext", "extendedKeyUsage=clientAuth", "-keyout", f"{work}/key", "-out", f"{work}/certificate",
        )  # fmt: skip
        Path(work, "key").rename(key)
        Path(work, "certificate").rename(certificate)
    key.chmod(0o600)


def put(path: Path, text: str, mode: int, owner: int, group: int) -> bool:
    """Write a file; returns whether that was needed."""
    if path.exists() and path.read_text() == text:
        now = path.stat()
        if (now.st_mode & 0o777, now.st_uid, now.st_gid) == (mode, owner, group):
            return False
    fresh = path.with_name(f".{path.name}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.chown(fresh, owner, group)
    fresh.chmod(mode)
    fresh.replace(path)
    return True


def main() -> None:
    """Run the module."""
    names = ("directory", "owner", "ca", "certificate", "key", "subject")
    module = AnsibleModule(
        argument_spec={
            name: {
                "type": "str" if name in ("owner", "subject") else "path",
                "required": True,
                "no_log": False,
            }
            for name in names
        },
        supports_check_mode=True,
    )
    given = module.params
    directory = Path(given["directory"]) / "tls"
    if module.check_mode:
        module.exit_json(changed=not directory.is_dir())
    try:
        user = pwd.getpwnam(given["owner"])
        directory.mkdir(exist_ok=True)
        os.chown(directory, 0, user.pw_gid)
        directory.chmod(0o750)
        certificate, key = directory / "administrator.pem", directory / "administrator.key"
        changed = not (certificate.exists() and key.exists())
        if changed:
            make_administrator(certificate, key, given["subject"])
        trusted = Path(given["ca"]).read_text() + certificate.read_text()
        pem = openssl("pkcs8", "-topk8", "-nocrypt", "-in", given["key"])
        changed |= put(directory / "trusted.pem", trusted, 0o644, 0, 0)
        changed |= put(directory / "host.pem", Path(given["certificate"]).read_text(), 0o644, 0, 0)
        changed |= put(directory / "host.key", pem, 0o640, 0, user.pw_gid)
    except KeyError:
        module.fail_json(msg=f"there is no user {given['owner']!r}")
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "")
        module.fail_json(msg=f"the certificates cannot be laid down: {error} {said}")
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
