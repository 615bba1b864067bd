# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of AMQP 0-9-1 as it takes to carry one message: the protocol that clients use, with nothing to install.

Source: AMQP 0-9-1 specification, and RabbitMQ's extension for publisher confirms.
"""

from __future__ import annotations

import socket
import ssl
import struct

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = b"\xce"
CLOSES = {(10, 50), (20, 40)}


class AmqpError(Exception):
    """The broker refused, or spoke of something else than was asked for."""


def short(text: str) -> bytes:
    """Return a short string."""
    raw = text.encode()
    return struct.pack(">B", len(raw)) + raw


def long(raw: bytes) -> bytes:
    """Return a long string."""
    return struct.pack(">I", len(raw)) + raw


class Session:
    """A connection with one channel; a context manager.

    Args:
        address: Name or address of the broker.
        port: Its port.
        user: Name of an account.
        password: Its password.
        vhost: The virtual host.
        tls_ca: File of the CA's certificates; empty for no TLS.

    Raises:
        AmqpError: The broker refused the login, or the virtual host.
        OSError: It cannot be reached, or its certificate is not good.
    """

    def __init__(self, address: str, port: int, user: str, password: str, *, vhost: str, tls_ca: str) -> None:
        self._socket = socket.create_connection((address, port), timeout=20)
        if tls_ca:
            context = ssl.create_default_context(cafile=tls_ca)
            self._socket = context.wrap_socket(self._socket, server_hostname=address)
        self._socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._await((10, 10))
        proof = b"\x00" + user.encode() + b"\x00" + password.encode()
        self._send(0, (10, 11), long(b"") + short("PLAIN") + long(proof) + short("en_US"))
        try:
            channels, frame, _ = struct.unpack(">HIH", self._await((10, 30)))
        except OSError:
            raise AmqpError("the broker ended the connection: is the password right?") from None
        self._send(0, (10, 31), struct.pack(">HIH", channels, frame, 0))
        self._send(0, (10, 40), short(vhost) + short("") + b"\x00")
        self._await((10, 41))
        self._send(1, (20, 10), short(""))
        self._await((20, 11))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def declare(self, queue: str) -> None:
        """Make a durable queue, of the virtual host's own type."""
        self._send(1, (50, 10), b"\x00\x00" + short(queue) + b"\x02" + long(b""))
        self._await((50, 11))

    def publish(self, queue: str, body: bytes) -> None:
        """Put a lasting message into a queue; returns when the broker has taken charge of it."""
        self._send(1, (85, 10), b"\x00")
        self._await((85, 11))
        self._send(1, (60, 40), b"\x00\x00" + short("") + short(queue) + b"\x00")
        self._write(HEADER, 1, struct.pack(">HHQHB", 60, 0, len(body), 0x1000, 2))
        self._write(BODY, 1, body)
        self._await((60, 80))

    def take(self, queue: str) -> bytes:
        """Return the next message of a queue.

        Raises:
            AmqpError: There is none.
        """
        self._send(1, (60, 70), b"\x00\x00" + short(queue) + b"\x01")
        self._await((60, 71))
        (size,) = struct.unpack(">Q", self._read(HEADER)[4:12])
        body = b""
        while len(body) < size:
            body += self._read(BODY)
        return body

    def delete(self, queue: str) -> None:
        """Delete a queue."""
        self._send(1, (50, 40), b"\x00\x00" + short(queue) + b"\x00")
        self._await((50, 41))

    def _write(self, kind: int, channel: int, payload: bytes) -> None:
        self._socket.sendall(struct.pack(">BHI", kind, channel, len(payload)) + payload + END)

    def _send(self, channel: int, method: tuple[int, int], arguments: bytes) -> None:
        self._write(METHOD, channel, struct.pack(">HH", *method) + arguments)

    def _exactly(self, size: int) -> bytes:
        raw = b""
        while len(raw) < size:
            more = self._socket.recv(size - len(raw))
            if not more:
                raise ConnectionResetError("the broker ended the connection")
            raw += more
        return raw

    def _read(self, wanted: int) -> bytes:
        while True:
            kind, _, size = struct.unpack(">BHI", self._exactly(7))
            payload = self._exactly(size + 1)[:-1]
            if kind == wanted:
                return payload
            if kind != HEARTBEAT:
                raise AmqpError(f"the broker sent a frame of kind {kind}, not {wanted}")

    def _await(self, wanted: tuple[int, int]) -> bytes:
        payload = self._read(METHOD)
        method = struct.unpack(">HH", payload[:4])
        if method in CLOSES:
            raise AmqpError(payload[7 : 7 + payload[6]].decode())
        if method != wanted:
            raise AmqpError(f"the broker answered {method}, not {wanted}; is the queue empty?")
        return payload[4:]
