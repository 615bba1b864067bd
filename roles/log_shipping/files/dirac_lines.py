# SPDX-License-Identifier: GPL-3.0-or-later
"""What syslog-ng does to lines of logs, in Python: it gives all the same fields, and sends them.

syslog-ng's own parser of JSON loses types (numbers, lists) in some versions. Its HTTP destination takes a
batch as accepted when the request was, though OpenSearch refuses each of its lines: with a full disk, for
example. Its streams from host to host have no acknowledgements. So lines go to OpenSearch and to other hosts
in the same requests (`_bulk`).
"""

from __future__ import annotations

import base64
import http.client
import json
import queue
import socket
import socketserver
import ssl
import sys
import threading
import time
import uuid
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import syslogng

# Version 3 has no classes to derive from.
_Parser: Any = getattr(syslogng, "LogParser", object)
_Destination: Any = getattr(syslogng, "LogDestination", object)
_Source: Any = syslogng.LogSource

_REQUEST = 5_000_000  # bytes of one request; OpenSearch refuses large ones
_PATIENCE = 30  # seconds for an answer
_IDLE = 600  # seconds after which the connection of another host is closed
# Refusals that end when somebody mends the target: no right, no index, too busy, its disk is full.
_TEMPORARY = {401, 403, 404, 408, 429}


def _text(value: Any) -> str:
    """Return a value of syslog-ng, bytes or text by its version, as text that can be encoded."""
    known = value if isinstance(value, bytes) else str(value).encode(errors="replace")
    return known.decode(errors="replace")


def _json(said: dict[str, Any]) -> str:
    return _text(json.dumps(said, ensure_ascii=False))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def document(line: str) -> dict[str, Any]:
    """Return what a service's line says; one that is no JSON object is a message."""
    try:
        said = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        said = None
    return said if isinstance(said, dict) else {"message": line.strip()}


class _Lines(_Parser):  # type: ignore[misc]
    """Makes a message a line: its text is the document, `.dirac.id` what it is known by."""

    def init(self, options: dict[str, str]) -> bool:
        """Take the settings of the configuration file."""
        self.site = _text(options["site"])
        self.host = socket.gethostname().partition(".")[0]
        return True

    def put(self, message: Any, said: dict[str, Any], service: str) -> bool:
        """Set the text and the id, which does not change when the line is sent again."""
        said["time"] = said.get("time") or _text(message[".dirac.time"])
        said.update(host=self.host, site=self.site, service=service)
        message["MESSAGE"] = _json(said)
        message[".dirac.id"] = str(uuid.uuid4())
        message[".dirac.day"] = datetime.now(timezone.utc).strftime("%Y.%m.%d")
        return True


class Service(_Lines):
    """Lines of services, from files SERVICE@NUMBER."""

    def parse(self, message: Any) -> bool:
        """Add to what the service said where it was said."""
        service = _text(message["FILE_NAME"]).rpartition("/")[2].rpartition("@")[0]
        return self.put(message, document(_text(message["MESSAGE"])), service)


class Journal(_Lines):
    """Lines of all others, from journald, since this was first started.

    syslog-ng would leave out what is older, but version 4.8 then leaves out everything.
    """

    def init(self, options: dict[str, str]) -> bool:
        """Take the settings of the configuration file; note the moment of the first start."""
        since = Path(_text(options["since"]))
        if not since.exists():
            since.write_text(datetime.now(timezone.utc).isoformat(timespec="milliseconds"))
        self.since = since.read_text()
        return super().init(options)

    def parse(self, message: Any) -> bool:
        """Put the fields together."""
        if _text(message[".dirac.time"]) < self.since:  # both in UTC and of one form
            return False
        said = {"level": _text(message[".dirac.level"]), "message": _text(message["MESSAGE"]).strip()}
        return self.put(message, said, _text(message["PROGRAM"]))


class Target(_Destination):  # type: ignore[misc]
    """OpenSearch, or another host with this role; a line that is sent again is known by its id."""

    SUCCESS: Any
    QUEUED: Any
    NOT_CONNECTED: Any

    def init(self, options: dict[str, str]) -> bool:
        """Take the settings of the configuration file."""
        given = {key: _text(value) for key, value in options.items()}
        self.place = (given["server"], int(given["port"]))
        self.index = given["index"]
        self.tls = ssl.create_default_context(cafile=given["ca"]) if given["ca"] else None
        if self.tls and given["certificate"]:
            self.tls.load_cert_chain(given["certificate"], given["key"])
        self.headers = {"Content-Type": "application/x-ndjson"}
        if given["user"]:
            account = base64.b64encode(f"{given['user']}:{given['password']}".encode()).decode()
            self.headers["Authorization"] = f"Basic {account}"
        self.connection: http.client.HTTPConnection | None = None
        self.trouble = ""
        self.retry, self.rest = int(given["retry"]), 0.0
        self.lines: list[tuple[str, str, str]] = []
        return True

    def open(self) -> bool:
        """Connect with the first request; not yet if that was in vain a moment ago.

        syslog-ng asks each second, whatever its configuration says.
        """
        if time.monotonic() < self.rest:
            return False
        self.connection = (
            http.client.HTTPSConnection(*self.place, timeout=_PATIENCE, context=self.tls)
            if self.tls
            else http.client.HTTPConnection(*self.place, timeout=_PATIENCE)
        )
        return True

    def is_opened(self) -> bool:
        """Whether `open` was called since the last trouble."""
        return self.connection is not None

    def close(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def send(self, message: Any) -> Any:
        """Collect a line; `flush` sends."""
        self.lines.append((_text(message["INDEX"]), _text(message["ID"]), _text(message["LINE"])))
        return self.QUEUED

    def flush(self) -> Any:
        """Send what was collected; syslog-ng keeps it and gives it again unless all of it is settled."""
        lines, self.lines = self.lines, []
        if not lines:
            return self.SUCCESS
        try:
            while lines:
                part = lines[: _fitting(lines)]
                self._settle(part)
                del lines[: len(part)]
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
            self._tell(str(error) or type(error).__name__)
            self.close()
            self.rest = time.monotonic() + self.retry
            return self.NOT_CONNECTED
        self._tell("")
        return self.SUCCESS

    def _settle(self, lines: list[tuple[str, str, str]]) -> None:
        """Send lines; what OpenSearch can never take is sent as a message that says so."""
        refused = self._post(lines)
        if refused:
            plain = [(day, name, _plain(line, refused[name])) for day, name, line in lines if name in refused]
            for name, reason in self._post(plain).items():
                _say(f"dropped a line, OpenSearch refuses it: {name} {reason}")

    def _post(self, lines: list[tuple[str, str, str]]) -> dict[str, str]:
        """Send lines in one request; returns why those that can never be taken are not, by id.

        Raises:
            ValueError: Not all of the others were taken.
        """
        body = "".join(
            f"{json.dumps({'create': {'_index': f'{self.index}-{day}', '_id': name}})}\n{line}\n"
            for day, name, line in lines
        )
        try:
            status, said = self._ask(body.encode())
        except (ConnectionError, http.client.HTTPException):  # an idle connection is closed at any time
            self.close()
            self.open()
            status, said = self._ask(body.encode())
        if status != 200:
            raise ValueError(f"HTTP {status}: {said[:300].decode(errors='replace')}")
        refused = {}
        for item in json.loads(said)["items"]:
            done = item["create"]
            if done["status"] < 300 or done["status"] == 409:  # it is there, from now or from before
                continue
            reason = f"{done['status']}: {json.dumps(done.get('error'))[:300]}"
            if done["status"] in _TEMPORARY or done["status"] >= 500:
                raise ValueError(reason)
            refused[done["_id"]] = reason
        return refused

    def _ask(self, body: bytes) -> tuple[int, bytes]:
        assert self.connection is not None
        self.connection.request("POST", "/_bulk", body, self.headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def _tell(self, trouble: str) -> None:
        if trouble != self.trouble:
            _say(f"{self.place[0]} takes " + (f"no lines, they wait: {trouble}" if trouble else "lines"))
        self.trouble = trouble


def _fitting(lines: list[tuple[str, str, str]]) -> int:
    """Return how many of the lines fit into one request; at least one."""
    size = 0
    for count, (_, _, line) in enumerate(lines):
        size += len(line) + 200
        if size > _REQUEST and count:
            return count
    return len(lines)


def _plain(line: str, reason: str) -> str:
    """Return a line with the usual fields only, as text; what it was is in `message`."""
    said = json.loads(line)
    kept = {name: str(said.get(name, "")) for name in ("host", "site", "service", "level")}
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    return _json({**kept, "time": now, "message": f"{line} (sent as text, OpenSearch said {reason})"})


class Listener(_Source):  # type: ignore[misc]
    """Takes lines of other hosts by HTTPS; says that it has them when they are in this host's buffer."""

    def init(self, options: dict[str, str]) -> bool:
        """Take the settings of the configuration file."""
        given = {key: _text(value) for key, value in options.items()}
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=given["ca"])
        tls.load_cert_chain(given["certificate"], given["key"])
        tls.verify_mode = ssl.CERT_REQUIRED
        self.port, self.tls, self.peers = int(given["port"]), tls, set(given["peers"].split())
        self.waiting: queue.Queue[_Batch] = queue.Queue(maxsize=10)
        self.ended = False
        return True

    def run(self) -> None:
        """Hand lines to syslog-ng, until the end; syslog-ng allows that from this thread only."""
        server = _server(self)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        while not self.ended:
            try:
                batch = self.waiting.get(timeout=0.5)
            except queue.Empty:
                continue
            for day, name, line in batch.lines:
                message = syslogng.LogMessage(line)
                message[".dirac.id"], message[".dirac.day"] = name, day
                self.post_message(message)  # returns when the line is in the buffer
            batch.kept.set()
        server.shutdown()
        server.server_close()

    def request_exit(self) -> None:
        """End `run`; what still waits was not acknowledged, and is sent again."""
        self.ended = True


class _Batch:
    """Lines of one request."""

    def __init__(self, lines: list[tuple[str, str, str]]) -> None:
        self.lines = lines
        self.kept = threading.Event()


def _taken_apart(body: str) -> list[tuple[str, str, str]]:
    """Return day, id and text of the lines in a request.

    Raises:
        ValueError: There is something else in it.
        KeyError: The same.
    """
    rows = body.split("\n")[:-1]
    heads = [json.loads(row)["create"] for row in rows[::2]]
    if len(rows) % 2 or not all("host" in document(row) for row in rows[1::2]):
        raise ValueError("not all of it is lines")
    return [
        (head["_index"].rpartition("-")[2], head["_id"], row)
        for head, row in zip(heads, rows[1::2], strict=True)
    ]


def _server(listener: Listener) -> socketserver.TCPServer:
    """Return the server; each connection has a thread, in which TLS begins with the first request."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = _IDLE

        def do_POST(self) -> None:
            names = _names(self.connection.getpeercert() or {})
            if listener.peers and not listener.peers & names:
                _say(f"{self.client_address[0]} is refused, log_shipping_peers has none of {sorted(names)}")
                self.answer(403, {"error": "this host does not listen to you (log_shipping_peers)"})
                return
            try:
                batch = _Batch(_taken_apart(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self.answer(400, {"error": f"not a request of this role: {error}"})
                return
            try:
                listener.waiting.put(batch, timeout=_PATIENCE)
            except queue.Full:
                self.answer(429, {"error": "busy"})
                return
            if batch.kept.wait(_PATIENCE):
                items = [{"create": {"_id": name, "status": 201}} for _, name, _ in batch.lines]
                self.answer(200, {"items": items})
            else:
                self.answer(503, {"error": "the buffer is full"})

        def answer(self, status: int, said: dict[str, Any]) -> None:
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing of each request."""

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

        def server_bind(self) -> None:
            if self.address_family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            super().server_bind()

        def get_request(self) -> tuple[socket.socket, Any]:
            plain, address = super().get_request()
            return listener.tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, _request: Any, client_address: Any) -> None:
            _say(f"connection of {client_address[0]}: {sys.exc_info()[1]}")

    return Server(("", listener.port), Handler)


def _names(certificate: dict[str, Any]) -> set[str]:
    """Return the names in a certificate: DNS names, and the CN."""
    found = {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
    parts = [part for each in certificate.get("subject", ()) for part in each]
    return found | {value for kind, value in parts if kind == "commonName"}
