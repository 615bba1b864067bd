"""A private SSH server: OpenSSH's, for repositories of git. Whoever runs the tests logs in, with a key."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import ClassVar

from .packages import PackageSet, Programs
from .server import LOOPBACK, Server, greeting

_CONFIG = """\
ListenAddress {address}:{port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
LogLevel VERBOSE
"""
# What runs as root wants a user of its own and a directory, which only this process and its children see.
_AS_ROOT = """\
mount --bind "$0/passwd" /etc/passwd
mount --bind "$0/shadow" /etc/shadow
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/sshd
exec "$@"
"""
_PASSWD = "root:x:0:0:root:/nonexistent:/bin/sh\nsshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
_SHADOW = "root:*:20000:0:99999:7:::\nsshd:*:20000:0:99999:7:::\n"


def _version(programs: Programs) -> str | None:
    """Return the version, which the server says only together with what it cannot do."""
    program = programs.root / "usr/sbin/sshd"
    try:
        done = subprocess.run(
            [program, "-?"], env=programs.environment(), capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    _, _, rest = done.stderr.partition("OpenSSH_")
    number = "".join(letter if letter.isdigit() else " " for letter in rest[:8]).split()
    return ".".join(number[:2]) if len(number) > 1 else None


PACKAGES = PackageSet("sshd", "OpenSSH's server", "openssh-server", (8, 0), _version)


class Sshd(Server):
    """One server; `key` is the private key that it lets in, `known_hosts` has its own."""

    title: ClassVar[str] = "OpenSSH's server"

    def __init__(self, programs: Programs) -> None:
        super().__init__(programs)
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.key, self.known_hosts = self.directory / "key", self.directory / "known_hosts"
        for name in ("key", "host_key"):
            make_key(self.directory / name)
        (self.directory / "authorized_keys").write_bytes((self.directory / "key.pub").read_bytes())

    def url(self, repository: Path) -> str:
        """Return the address of a repository."""
        return f"ssh://{self.user}@{LOOPBACK}:{self.port}{repository}"

    def _launch(self) -> None:
        public = (self.directory / "host_key.pub").read_text()
        self.known_hosts.write_text(f"[{LOOPBACK}]:{self.port} {public}")
        file = self.directory / "sshd_config"
        file.write_text(_CONFIG.format(address=LOOPBACK, port=self.port, directory=self.directory))
        command: list[str | Path] = [self.programs.root / "usr/sbin/sshd", "-D", "-e", "-f", file]
        if os.getuid() == 0:
            (self.directory / "passwd").write_text(_PASSWD)
            (self.directory / "shadow").write_text(_SHADOW)
            script = ("unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", _AS_ROOT)
            command = [*script, self.directory, *command]
        self._run(*command)

    def _answers(self) -> bool:
        return greeting(self.port, b"SSH-2.0-hello\r\n") == b"S"


def make_key(file: Path, passphrase: str = "") -> None:
    """Make a private key, and its public half beside it."""
    quiet = ("-q", "-t", "ed25519", "-N", passphrase, "-C", "test")
    subprocess.run(["ssh-keygen", *quiet, "-f", file], check=True)
