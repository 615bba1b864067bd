"""Images of bare Debian hosts, made by mmdebstrap from this machine's own package sources.

An image holds what an installer leaves on a machine: systemd, sshd, Python, sudo. It is made anew when this
recipe changes, and after a week.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from .podman import HostsError, place, podman, run

SUITES = ("bookworm", "trixie", "bullseye")
_WEEK = 7 * 86400
_SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_INCLUDE = (
    "systemd,systemd-sysv,openssh-server,python3,python3-apt,dbus,iproute2,ca-certificates,sudo,procps,"
    "libpam-systemd,netbase,gnupg,less"
)
# What a container has no use for, or what would make noise in a test.
_MASKED = (
    "systemd-networkd-wait-online systemd-udevd systemd-resolved getty@tty1 console-getty e2scrub_all.timer "
    "apt-daily.timer apt-daily-upgrade.timer fstrim.timer"
)
_PREPARE = f"""\
set -e
for unit in {_MASKED}; do systemctl mask $unit >/dev/null 2>&1 || true; done
rm -f /etc/machine-id /etc/ssh/ssh_host_* /usr/sbin/policy-rc.d
touch /etc/machine-id
mkdir -p -m 700 /root/.ssh /etc/systemd/system/ssh.service.d
printf '#!/bin/sh\\n[ -e $1 ] || ssh-keygen -q -t ed25519 -N "" -f $1\\n' > /usr/local/sbin/make-ssh-key
chmod 755 /usr/local/sbin/make-ssh-key
printf '[Service]\\nExecStartPre=\\nExecStartPre=/usr/local/sbin/make-ssh-key %s\\n' \
    /etc/ssh/ssh_host_ed25519_key \
    > /etc/systemd/system/ssh.service.d/keys.conf
printf 'APT::Install-Recommends "false";\\nAcquire::Languages "none";\\n' > /etc/apt/apt.conf.d/90tests
update-ca-certificates >/dev/null 2>&1
"""


def key() -> Path:
    """Return the private key that opens all hosts; made once."""
    path = place() / "id_ed25519"
    if not path.exists():
        run(
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "dirac tests",
            "-f",
            str(path),
            failure="no key",
        )
    return path


def name(suite: str) -> str:
    """Return the name of the image of a suite."""
    return f"localhost/dirac-host-{suite}"


def ensure(suite: str) -> str:
    """Make the image of a suite unless a good one is there; returns its name.

    Raises:
        HostsError: There is no such suite, or it cannot be made.
    """
    if suite not in SUITES:
        raise HostsError(f"there is no suite {suite!r}; there are {', '.join(SUITES)}")
    recipe = hashlib.sha256(
        json.dumps([_INCLUDE, _PREPARE, key().with_suffix(".pub").read_text(), _sources(suite)]).encode()
    ).hexdigest()[:16]
    tag = f"{name(suite)}:{recipe}"
    if not _is_fresh(tag):
        _make(suite, tag)
    return tag


def _is_fresh(tag: str) -> bool:
    found = podman(
        "images", "--format", "json", "--filter", f"reference={tag}", failure="podman does not work"
    )
    return any(time.time() - image["Created"] < _WEEK for image in json.loads(found or "[]"))


def _sources(suite: str) -> str:
    try:
        text = _SOURCES.read_text()
    except OSError as error:
        raise HostsError(f"the package sources cannot be read: {_SOURCES}: {error.strerror}") from None
    own = next(line.split()[1] for line in text.splitlines() if line.startswith("Suites:"))
    return text.replace(own, suite)


def _make(suite: str, tag: str) -> None:
    work = place() / f"{suite}.tar"
    sources = place() / f"{suite}.sources"
    sources.write_text(_sources(suite))
    prepare = place() / "prepare.sh"
    prepare.write_text(_PREPARE)
    copies = [
        f"copy-in {path} /usr/local/share/ca-certificates" for path in sorted(_CERTIFICATES.glob("*.crt"))
    ]
    hooks = [
        *(f"--customize-hook={copy}" for copy in copies),
        f'--customize-hook=sh -c "chroot \\"$1\\" /bin/sh < {prepare}" sh "$1"',
        f"--customize-hook=upload {key().with_suffix('.pub')} /root/.ssh/authorized_keys",
        '--customize-hook=chmod 600 "$1/root/.ssh/authorized_keys"',
    ]
    try:
        run(
            "mmdebstrap",
            "--variant=minbase",
            f"--include={_INCLUDE}",
            '--aptopt=Acquire::Languages "none"',
            '--aptopt=APT::Install-Recommends "false"',
            "--skip=cleanup/apt/lists",  # else each host fetches them again
            *hooks,
            suite,
            str(work),
            str(sources),
            failure=f"the file system of {suite} cannot be made",
        )
        podman(
            "import", "--change", 'CMD ["/sbin/init"]', "--change", "STOPSIGNAL SIGRTMIN+3", str(work), tag,
            failure="the image cannot be made",
        )  # fmt: skip
    finally:
        work.unlink(missing_ok=True)
