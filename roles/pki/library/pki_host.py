# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a host's private key and certificate, and the authority that it trusts."""

from __future__ import annotations

import datetime
import grp
import ipaddress
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import Files, HostError

DOCUMENTATION = r"""
module: pki_host
short_description: Look at, put, verify or remove the key and certificate of a host
description:
  - C(put) makes the group, the directory and the private key, then looks at the certificate. If that is not
    right and I(sign) is set, it answers a signing request; the caller comes back with I(certificate).
options:
  action: {description: What to do, type: str, choices: [put, verify, remove], required: true}
  directory: {description: Where ca.pem, host.pem and host.key are, type: path, required: true}
  group: {description: Group that may read the key, type: str, required: true}
  names: {description: DNS names, type: list, elements: str, required: true}
  addresses: {description: IP addresses, type: list, elements: str, required: true}
  key_type: {description: Kind of key, type: str, choices: [ec, rsa], default: ec}
  renew_before_days: {description: Days that have to be left, type: int, default: 30}
  ca_certificate: {description: The authority, type: str, default: ''}
  certificate: {description: A certificate that was just signed, type: str, default: ''}
  sign: {description: Ask for a signature if one is needed, type: bool, default: false}
  given_certificate: {description: Certificate as PEM or as a path on the host, type: str, default: ''}
  given_key: {description: Key as PEM or as a path on the host, type: str, default: ''}
  trust_path: {description: File from which the system's trust store is made, type: path, required: true}
  trust_command: {description: Command that makes it, type: str, required: true}
  grid_directory: {description: Directory of authorities by hash; empty for none, type: str, default: ''}
  metrics_dir: {description: Directory of a node exporter's text files, type: str, default: ''}
"""

RETURN = r"""
request: {description: Signing request, type: str, returned: if a signature is needed}
reasons: {description: Why the certificate is not right, type: list, returned: always}
ends: {description: When the certificate ends (seconds since 1970), type: int, returned: if there is one}
"""

GENERATE = {
    "ec": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
}
UTC = datetime.timezone.utc
METRICS = "dirac_certificate.prom"


def openssl(*words: str, given: str = "") -> str:
    """Call openssl; returns what it prints.

    Raises:
        HostError: It says no.
    """
    try:
        done = subprocess.run(["openssl", *words], input=given, capture_output=True, text=True, check=False)
    except OSError as error:
        raise HostError(f"openssl: {error.strerror}; the role pki installs it") from None
    if done.returncode:
        raise HostError(f"openssl {words[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def alternative_names(names: list[str], addresses: list[str]) -> list[str]:
    """Return the names as an extension has them, each kind sorted."""
    ips = sorted({str(ipaddress.ip_address(address)) for address in addresses})
    return [f"DNS:{name}" for name in sorted(set(names))] + [f"IP:{ip}" for ip in ips]


def found_names(text: str) -> list[str]:
    """Return the names that openssl prints of a certificate, in the same form."""
    words = [word.strip() for word in text.replace("\n", ",").split(",")]
    dns = sorted(word for word in words if word.startswith("DNS:"))
    ips = {str(ipaddress.ip_address(word[11:])) for word in words if word.startswith("IP Address:")}
    return dns + [f"IP:{ip}" for ip in sorted(ips)]


class Certificate:
    """The key and certificate of a host in a directory."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        place = given["directory"]
        self.ca, self.pem, self.key = (f"{place}/{name}" for name in ("ca.pem", "host.pem", "host.key"))

    @property
    def ends(self) -> int:
        """When it ends, in seconds since 1970."""
        said = openssl("x509", "-in", self.pem, "-noout", "-enddate").strip().partition("=")[2]
        end = datetime.datetime.strptime(said, "%b %d %H:%M:%S %Y %Z")
        return int(end.replace(tzinfo=UTC).timestamp())

    def reasons(self) -> list[str]:
        """Return why it is not right; nothing if it is."""
        missing = [path for path in (self.key, self.pem, self.ca) if not Path(path).exists()]
        if missing:
            return [f"{path} is not there" for path in missing]
        wrong = []
        left = (self.ends - datetime.datetime.now(UTC).timestamp()) / 86400
        if left < self.given["renew_before_days"]:
            wrong.append(f"{self.pem} ends in {left:.0f} days")
        try:
            openssl("verify", "-CAfile", self.ca, "-untrusted", self.pem, self.pem)
        except HostError as error:
            wrong.append(f"{self.pem} is not signed by the authority {self.ca}: {error}")
        if openssl("x509", "-in", self.pem, "-noout", "-pubkey") != openssl(
            "pkey", "-in", self.key, "-pubout"
        ):
            wrong.append(f"{self.key} is not the key of {self.pem}")
        wanted = alternative_names(self.given["names"], self.given["addresses"])
        there = found_names(openssl("x509", "-in", self.pem, "-noout", "-ext", "subjectAltName"))
        lacking = [name for name in wanted if name not in there]
        if lacking:
            wrong.append(f"{self.pem} is not for {', '.join(lacking)}")
        elif self.given["sign"] and there != wanted:
            wrong.append(f"{self.pem} is for names that are no longer wanted")
        return wrong

    def request(self) -> str:
        """Return a signing request."""
        names = ",".join(alternative_names(self.given["names"], self.given["addresses"]))
        subject = f"/CN={self.given['names'][0][:64]}"
        return openssl(
            "req", "-new", "-key", self.key, "-subj", subject, "-addext", f"subjectAltName={names}"
        )


class Host:
    """Everything that belongs to a certificate on a host."""

    def __init__(self, given: dict[str, Any], files: Files) -> None:
        self.given, self.files = given, files
        self.certificate = Certificate(given)

    def put(self) -> dict[str, Any]:
        """Put all in place; returns the module's answer."""
        given, files, certificate = self.given, self.files, self.certificate
        self._have_group()
        files.directory(str(Path(given["directory"]).parent))
        files.directory(given["directory"])
        ca = given["ca_certificate"].strip() + "\n"
        files.file(certificate.ca, ca)
        self._trust(ca)
        if given["given_certificate"]:
            key, chain = self._text("given_key"), self._text("given_certificate")
            files.file(certificate.key, key, 0o640, group=given["group"], secret=True)
            files.file(certificate.pem, chain)
        else:
            self._have_key()
        if given["certificate"]:
            files.file(certificate.pem, given["certificate"])
        # In check mode what is looked at is what was there before.
        reasons = certificate.reasons()
        if reasons and given["sign"] and not given["certificate"]:
            if files.check:
                files.note(certificate.pem, "", "another certificate\n")
                return {"reasons": reasons}
            return {"reasons": reasons, "request": certificate.request()}
        if reasons and not files.check:
            raise HostError("; ".join(reasons))
        self._tell_metrics()
        return {"reasons": reasons, "ends": certificate.ends} if not reasons else {"reasons": reasons}

    def _text(self, name: str) -> str:
        text = self.given[name]
        return text.strip() + "\n" if "-----BEGIN" in text else Path(text).read_text("ascii")

    def _have_group(self) -> None:
        try:
            grp.getgrnam(self.given["group"])
        except KeyError:
            self.files.note(f"group {self.given['group']}", "", "there\n")
            if not self.files.check:
                subprocess.run(["groupadd", "--system", self.given["group"]], check=True)

    def _have_key(self) -> None:
        """Have a private key that never leaves the host; one that is there stays."""
        path = Path(self.certificate.key)
        if path.exists():
            text = path.read_text("ascii")
        elif self.files.check:
            self.files.note(str(path), "", "a key\n")
            return
        else:
            text = openssl("genpkey", *GENERATE[self.given["key_type"]])
        self.files.file(str(path), text, 0o640, group=self.given["group"], secret=True)

    def _trust(self, ca: str) -> None:
        files, grid = self.files, self.given["grid_directory"]
        if files.file(self.given["trust_path"], ca) and not files.check:
            subprocess.run(self.given["trust_command"].split(), check=True, capture_output=True)
        if not grid:
            return
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(ca)
            file.flush()
            said = openssl(
                "x509", "-in", file.name, "-noout", "-subject_hash", "-subject", "-nameopt", "compat"
            )
        digest, subject = said.strip().split("\n")
        files.directory(grid)
        self._forget_grid(grid, keep=digest)
        files.file(f"{grid}/dirac-site.pem", ca)
        files.link(f"{grid}/{digest}.0", "dirac-site.pem")
        name = re.sub(r"^subject=\s*", "", subject)
        policy = f" access_id_CA X509 '{name}'\n pos_rights globus CA:sign\n cond_subjects globus '\"/*\"'\n"
        files.file(f"{grid}/{digest}.signing_policy", policy)

    def _forget_grid(self, grid: str, keep: str = "") -> None:
        """Remove what an earlier authority of the site has left."""
        for path in sorted(Path(grid).glob("*.0")):
            if path.is_symlink() and str(path.readlink()) == "dirac-site.pem" and path.stem != keep:
                self.files.absent(str(path))
                self.files.absent(str(path.with_suffix(".signing_policy")))

    def _tell_metrics(self) -> None:
        if not self.given["metrics_dir"] or not Path(self.certificate.pem).exists():
            return
        name = "dirac_certificate_end_seconds"
        text = f"# HELP {name} When the certificate ends, in seconds since 1970.\n# TYPE {name} gauge\n"
        text += f'{name}{{path="{self.certificate.pem}"}} {self.certificate.ends}\n'
        self.files.directory(self.given["metrics_dir"])
        self.files.file(f"{self.given['metrics_dir']}/{METRICS}", text)

    def verify(self) -> dict[str, Any]:
        """Check all; returns the module's answer.

        Raises:
            HostError: Something is wrong.
        """
        reasons = self.certificate.reasons()
        if reasons:
            raise HostError("; ".join(reasons))
        if os.stat(self.certificate.key).st_mode & 0o007:  # noqa: PTH116
            raise HostError(f"{self.certificate.key} can be read by everybody")
        openssl(
            "verify", "-CApath", "/etc/ssl/certs", "-untrusted", self.certificate.pem, self.certificate.pem
        )
        return {"reasons": [], "ends": self.certificate.ends}

    def remove(self) -> dict[str, Any]:
        """Remove all; returns the module's answer."""
        given, files = self.given, self.files
        files.absent(given["directory"])
        if files.absent(given["trust_path"]) and not files.check:
            subprocess.run(given["trust_command"].split(), check=True, capture_output=True)
        if given["grid_directory"]:
            self._forget_grid(given["grid_directory"])
            files.absent(f"{given['grid_directory']}/dirac-site.pem")
        if given["metrics_dir"]:
            files.absent(f"{given['metrics_dir']}/{METRICS}")
        try:
            grp.getgrnam(given["group"])
        except KeyError:
            return {"reasons": []}
        files.note(f"group {given['group']}", "there\n", "")
        if not files.check:
            subprocess.run(["groupdel", given["group"]], check=True)
        return {"reasons": []}


def main() -> None:
    """Run the module."""
    text: dict[str, Any] = {"type": "str", "default": ""}
    several = {"type": "list", "elements": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["put", "verify", "remove"], "required": True},
            "directory": {"type": "path", "required": True},
            "group": {"type": "str", "required": True},
            "names": several,
            "addresses": several,
            "key_type": {"type": "str", "choices": ["ec", "rsa"], "default": "ec", "no_log": False},
            "renew_before_days": {"type": "int", "default": 30},
            "ca_certificate": text,
            "certificate": text,
            "sign": {"type": "bool", "default": False},
            "given_certificate": text,
            "given_key": {**text, "no_log": True},
            "trust_path": {"type": "path", "required": True},
            "trust_command": {"type": "str", "required": True},
            "grid_directory": text,
            "metrics_dir": text,
        },
        supports_check_mode=True,
    )
    files = Files(module.check_mode)
    try:
        answer = getattr(Host(module.params, files), module.params["action"])()
    except (HostError, OSError, ValueError, subprocess.CalledProcessError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(files.changed), paths=files.changed, diff=files.diff, **answer)


if __name__ == "__main__":
    main()
