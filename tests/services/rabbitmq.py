"""A private RabbitMQ.

The broker is started without its shell scripts: they name absolute paths, and start processes that get lost.
"""

from __future__ import annotations

import re
from pathlib import Path

from .authority import Authority
from .packages import PackageSet, Programs, first_version
from .server import LOOPBACK, Server, greeting

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"  # AMQP 0-9-1, section 4.2.2
_EPMD_NAMES = b"\x00\x01n"  # Erlang distribution protocol, NAMES_REQ
_METHOD_FRAME = b"\x01"

_CONFIG = """\
listeners.tcp.1 = {address}:{port}
default_user = {user}
default_pass = {password}
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 1MB
log.console = true
log.console.level = warning
log.file = false
"""


def _erlang(root: Path) -> Path | None:
    candidates = (root / "usr/lib/erlang", root / "usr/lib64/erlang")
    return next((path for path in candidates if (path / "bin/start_sasl.boot").exists()), None)


def _runtime(erlang: Path) -> Path:
    return next(erlang.glob("erts-*/bin"))


def _broker(root: Path) -> Path | None:
    return max(root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*"), default=None)


def _erlang_environment(erlang: Path) -> dict[str, str]:
    """Return what the ``erl`` script would set, for an Erlang in any place."""
    return {"ROOTDIR": str(erlang), "BINDIR": str(_runtime(erlang)), "EMU": "beam", "PROGNAME": "erl"}


def _probe(programs: Programs) -> str | None:
    erlang, broker = _erlang(programs.root), _broker(programs.root)
    if erlang is None or broker is None:
        return None
    quiet_end = [
        "-noinput",
        "-boot",
        "start_clean",
        "-eval",
        "io:put_chars(erlang:system_info(version)),halt().",
    ]
    env = {**programs.environment(), **_erlang_environment(erlang)}
    if first_version([_runtime(erlang) / "erlexec", *quiet_end], env) is None:
        return None
    return broker.name.rpartition("-")[2]


PACKAGES = PackageSet(
    name="rabbitmq",
    title="RabbitMQ",
    package="rabbitmq-server",
    keep=("rabbitmq-server", "erlang-*"),
    minimum=(3, 10),
    probe=_probe,
)


class RabbitMQ(Server):
    """One RabbitMQ broker, with the virtual host ``/`` and one user.

    Args:
        programs: What to run.
        certificates: Where its certificate comes from, to speak TLS as well.
    """

    title = PACKAGES.title
    port_names = ("main", "names", "nodes", "tls")

    def __init__(self, programs: Programs, certificates: Authority | None = None) -> None:
        super().__init__(programs)
        self.certificates = certificates
        erlang, broker = _erlang(programs.root), _broker(programs.root)
        assert erlang is not None
        assert broker is not None
        self._erlang, self._broker = erlang, broker

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"amqp://{self.user}:{self.password}@{LOOPBACK}:{self.port}//"

    @property
    def tls_url(self) -> str:
        """Where clients connect to that speak TLS."""
        return f"amqps://{self.user}:{self.password}@localhost:{self.ports['tls']}//"

    def _launch(self) -> None:
        env = self._environment()
        # Erlang's name service in the foreground: started on demand it would be a daemon.
        self._run(_runtime(self._erlang) / "epmd", env=env)
        self._wait_for("listen", lambda: greeting(self.ports["names"], _EPMD_NAMES) != b"")
        self._run(
            _runtime(self._erlang) / "erlexec",
            *("-noinput", "-boot", str(self._erlang / "bin/start_sasl"), "-s", "rabbit", "boot"),
            *("+S", "2:2", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none", "+B", "i"),
            *("-syslog", "logger", "[]", "-syslog", "syslog_error_logger", "false"),
            *("-kernel", "prevent_overlapping_partitions", "false"),
            *("-kernel", "inet_dist_use_interface", "{127,0,0,1}"),
            env=env,
        )

    def _environment(self) -> dict[str, str]:
        """Write the configuration and return the environment that leads to it."""
        config, plugins = self.directory / "rabbitmq.conf", self.directory / "enabled_plugins"
        config.touch(0o600)
        config.write_text(
            _CONFIG.format(address=LOOPBACK, port=self.port, user=self.user, password=self.password)
            + self._tls()
        )
        plugins.write_text("[].\n")
        libraries = self._libraries()
        return {
            **_erlang_environment(self._erlang),
            "PATH": f"{_runtime(self._erlang)}:{self.programs.environment()['PATH']}",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self.ports["names"]),
            "ERL_CRASH_DUMP_BYTES": "0",
            "ERL_LIBS": str(libraries),
            "RABBITMQ_HOME": str(self._broker),
            "RABBITMQ_PLUGINS_DIR": str(libraries),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_DIST_PORT": str(self.ports["nodes"]),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(self.directory / "feature_flags"),
            "RABBITMQ_LOG_BASE": str(self.directory / "logs"),
            "RABBITMQ_LOGS": "-",
        }

    def _tls(self) -> str:
        if self.certificates is None:
            return ""
        certificate, key = self.certificates.certificate(stem="broker")
        return (
            f"listeners.ssl.1 = {LOOPBACK}:{self.ports['tls']}\n"
            f"ssl_options.cacertfile = {self.certificates.ca}\n"
            f"ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n"
        )

    def _libraries(self) -> Path:
        """Link together the applications that the broker itself needs.

        With all the plugins that come with it, switched off, it takes more than twice the time to start.
        """
        directory = self.directory / "libraries"
        directory.mkdir(exist_ok=True)
        there = {path.name.rpartition("-")[0]: path for path in (self._broker / "plugins").iterdir()}
        wanted, seen = ["rabbit"], set[str]()
        while wanted:
            name = wanted.pop()
            if name in seen or name not in there:
                continue
            seen.add(name)
            link = directory / there[name].name
            if not link.exists():
                link.symlink_to(there[name])
            description = (there[name] / "ebin" / f"{name}.app").read_text()
            if needs := re.search(r"\{\s*applications\s*,\s*\[(.*?)\]", description, re.DOTALL):
                wanted += re.findall(r"\w+", needs[1])
        return directory

    def _answers(self) -> bool:
        """Whether the broker opens a conversation; it listens after all else is ready."""
        return greeting(self.port, _PROTOCOL_HEADER) == _METHOD_FRAME
