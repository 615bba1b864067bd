"""An archive of the real OpenSearch server with its security plugin, laid out as the vendor's.

The vendor's archives cannot be had from package registries, but the parts can: server, modules and the
security plugin are on Maven Central. What is not published there is small and written here: start script,
descriptors of modules, and a policy for the network library. Java is the host's own.

``python -m tests.services.opensearch`` prints the path of the archive and its SHA-256, after it was made.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .made import make_once, run
from .packages import Programs
from .server import LOOPBACK, Server

VERSION = "2.19.3"
_SECURITY = f"{VERSION}.0"
_LOG4J = "2.21.0"
_LOADER = "2.19.6"  # the class loader of plugins; not published with each version, and the same in all
_RECIPE = 3  # raised when what is written here changes
_UNPRIVILEGED = "nobody"
# Python before 3.11.4 knows no filters; the archive is one that was made here.
_FILTER: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


@dataclass(frozen=True)
class Module:
    """A module of the server: the artefact, and the class that the server loads."""

    artefact: str
    main: str
    policy: str = ""


MODULES = {
    "transport-netty4": Module(
        "transport-netty4-client",
        "org.opensearch.transport.Netty4Plugin",
        """\
grant codeBase "${codebase.netty-common}" {
  permission java.lang.RuntimePermission "getClassLoader";
  permission java.net.SocketPermission "*", "accept,connect,listen,resolve";
  permission java.lang.reflect.ReflectPermission "suppressAccessChecks";
};
grant codeBase "${codebase.netty-transport}" {
  permission java.lang.RuntimePermission "accessClassInPackage.sun.nio.ch";
  permission java.lang.RuntimePermission "accessDeclaredMembers";
  permission java.lang.reflect.ReflectPermission "suppressAccessChecks";
  permission java.net.SocketPermission "*", "accept,connect,listen,resolve";
};
grant codeBase "${codebase.transport-netty4-client}" {
  permission java.net.SocketPermission "*", "accept,connect,listen,resolve";
};
""",
    ),
    "analysis-common": Module("analysis-common", "org.opensearch.analysis.common.CommonAnalysisPlugin"),
}

_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId><artifactId>parts</artifactId><version>1</version>
  <dependencies>{dependencies}</dependencies>
</project>
"""

_START = """\
#!/bin/sh
# Starts the server with the Java of OPENSEARCH_JAVA_HOME or JAVA_HOME, or the one on the PATH.
set -e
home=$(cd "$(dirname "$0")/.." && pwd)
java_home=${OPENSEARCH_JAVA_HOME:-${JAVA_HOME:-}}
conf=${OPENSEARCH_PATH_CONF:-$home/config}
options=$(grep -hs '^-' "$conf/jvm.options" || true)
# shellcheck disable=SC2086
exec "${java_home:+$java_home/bin/}java" $options ${OPENSEARCH_JAVA_OPTS:-} \\
    "-Dopensearch.path.home=$home" "-Dopensearch.path.conf=$conf" -Dopensearch.distribution.type=tar \\
    -cp "$home/lib/*" org.opensearch.bootstrap.OpenSearch "$@"
"""

_JVM_OPTIONS = """\
-Xms1g
-Xmx1g
-XX:+UseG1GC
-Djava.security.manager=allow
-Dfile.encoding=UTF-8
-Dio.netty.noUnsafe=true
-Dio.netty.noKeySetOptimization=true
-Dio.netty.recycler.maxCapacityPerThread=0
-Dio.netty.allocator.numDirectArenas=0
-Dlog4j.shutdownHookEnabled=false
-Dlog4j2.disable.jmx=true
-Dopensearch.networkaddress.cache.ttl=60
-Djava.locale.providers=SPI,COMPAT
--add-opens=java.base/java.io=ALL-UNNAMED
"""

_LOG_SETTINGS = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%-5p] [%c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


def archive() -> Path:
    """Return the archive, put together if it is not there yet.

    Raises:
        UnavailableError: There is no Maven, or no network.
    """
    return make_once(f"opensearch-{VERSION}-{_RECIPE}.tar.gz", _assemble)


def _assemble(work: Path) -> Path:
    home = work / f"opensearch-{VERSION}"
    core = _fetch(
        work / "core",
        f"org.opensearch:opensearch:{VERSION}",
        f"org.opensearch:opensearch-plugin-classloader:{_LOADER}",
        f"org.apache.logging.log4j:log4j-core:{_LOG4J}",
    )
    names = {path.name for path in core}
    _place(home / "lib", core)
    for name, module in MODULES.items():
        parts = _fetch(work / name, f"org.opensearch.plugin:{module.artefact}:{VERSION}")
        target = home / "modules" / name
        _place(target, [path for path in parts if path.name not in names])
        (target / "plugin-descriptor.properties").write_text(_descriptor(name, module))
        if module.policy:
            (target / "plugin-security.policy").write_text(module.policy)
    _unpack_security(work, home)
    for path, text in {
        "bin/opensearch": _START,
        "config/opensearch.yml": "",
        "config/jvm.options": _JVM_OPTIONS,
        "config/log4j2.properties": _LOG_SETTINGS,
    }.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(text)
    (home / "bin/opensearch").chmod(0o755)
    target = work / "archive.tar.gz"
    with tarfile.open(target, "w:gz", compresslevel=1) as packed:
        packed.add(home, home.name)
    return target


def _fetch(work: Path, *coordinates: str) -> list[Path]:
    work.mkdir()
    dependencies = ""
    for each in coordinates:
        group, artefact, version = each.split(":")
        dependencies += (
            f"<dependency><groupId>{group}</groupId><artifactId>{artefact}</artifactId>"
            f"<version>{version}</version></dependency>"
        )
    (work / "pom.xml").write_text(_POM.format(dependencies=dependencies))
    run("mvn", "-B", "-q", "dependency:copy-dependencies", "-DoutputDirectory=parts", cwd=work)
    return sorted((work / "parts").glob("*.jar"))


def _unpack_security(work: Path, home: Path) -> None:
    """Do what the plugin installer does: the plugin to plugins, its settings to config."""
    artefact = f"org.opensearch.plugin:opensearch-security:{_SECURITY}:zip"
    run("mvn", "-B", "-q", "dependency:copy", f"-Dartifact={artefact}", f"-DoutputDirectory={work}", cwd=work)
    target = home / "plugins" / "opensearch-security"
    with zipfile.ZipFile(work / f"opensearch-security-{_SECURITY}.zip") as packed:
        packed.extractall(target)
    (home / "config").mkdir()
    (target / "config").rename(home / "config" / "opensearch-security")


def _place(target: Path, parts: list[Path]) -> None:
    target.mkdir(parents=True)
    for part in parts:
        part.rename(target / part.name)


def _descriptor(name: str, module: Module) -> str:
    values = {
        "description": f"Module {name}",
        "version": VERSION,
        "name": name,
        "classname": module.main,
        "java.version": "11",
        "opensearch.version": VERSION,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


class OpenSearch(Server):
    """One OpenSearch, without users and TLS.

    Raises:
        UnavailableError: There is no archive, and none can be made.
    """

    title: ClassVar[str] = "OpenSearch"
    port_names: ClassVar[tuple[str, ...]] = ("main", "transport")

    def __init__(self) -> None:
        super().__init__(Programs(archive(), VERSION))
        # It refuses to run as root.
        self._uid = pwd.getpwnam(_UNPRIVILEGED).pw_uid if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"

    def _launch(self) -> None:
        home = self.directory / f"opensearch-{VERSION}"
        if not home.exists():
            with tarfile.open(self.programs.root) as packed:
                packed.extractall(self.directory, **_FILTER)
            if self._uid is not None:
                self.directory.chmod(0o711)
                for path in (home, *home.rglob("*")):
                    os.chown(path, self._uid, -1)
        settings = {
            "discovery.type": "single-node",
            "network.host": LOOPBACK,
            "http.port": self.port,
            "transport.port": self.ports["transport"],
            "plugins.security.disabled": "true",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
        }
        options = [f"-E{name}={value}" for name, value in settings.items()]
        java = {name: value for name in ("JAVA_HOME", "OPENSEARCH_JAVA_HOME") if (value := os.getenv(name))}
        memory = {"OPENSEARCH_JAVA_OPTS": "-Xms512m -Xmx512m"}
        self._run(home / "bin" / "opensearch", *options, uid=self._uid, env=java | memory)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=5) as answer:
                return bool(json.load(answer)["version"]["number"] == VERSION)
        except (OSError, urllib.error.URLError):
            return False


if __name__ == "__main__":
    made = archive()
    sys.stdout.write(f"{made} {hashlib.sha256(made.read_bytes()).hexdigest()}\n")
