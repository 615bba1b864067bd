# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of OpenSearch and Elasticsearch with nothing but the standard library."""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from typing import Any, NamedTuple

OK = range(200, 300)


class FailedError(Exception):
    """It cannot be done, or a promise is not kept."""


class Answer(NamedTuple):
    """What the service answered."""

    status: int
    body: Any

    @property
    def said(self) -> str:
        """The service's own words, short."""
        return f"{self.status} {json.dumps(self.body)[:400]}"


class Client:
    """Speaks to the service as one user.

    Args:
        url: Where it answers.
        ca_file: CA to trust instead of the system's.
        user: Name and password; nobody if None.
        certificate: Files of a client's certificate and its key.
    """

    def __init__(
        self,
        url: str,
        ca_file: str = "",
        *,
        user: tuple[str, str] | None = None,
        certificate: tuple[str, str] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        context = ssl.create_default_context(cafile=ca_file or None)
        if certificate:
            context.load_cert_chain(*certificate)
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        self._headers = {"Content-Type": "application/json"}
        if user:
            self._headers["Authorization"] = "Basic " + base64.b64encode(":".join(user).encode()).decode()

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """Send a request.

        Raises:
            OSError: The service cannot be reached.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - the scheme is validated by the role
            f"{self.url}{path}", data=data, headers=self._headers, method=method
        )
        try:
            with self._opener.open(request, timeout=120) as answer:
                return Answer(answer.status, _parsed(answer.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _parsed(error.read()))

    def need(self, method: str, path: str, body: object = None, *, trouble: str) -> Any:
        """Send a request that has to succeed and return the body of the answer.

        Raises:
            FailedError: It did not; with `trouble` and the service's words.
        """
        answer = self.call(method, path, body)
        if answer.status not in OK:
            raise FailedError(f"{trouble}: {answer.said}")
        return answer.body

    def wait(self, patience: int, path: str = "/_cluster/health?wait_for_status=yellow&timeout=5s") -> None:
        """Wait until the service answers a path well, by default until its indices can be written.

        Raises:
            FailedError: It does not, for too long, or its certificate is refused.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                answer = self.call("GET", path)
                if answer.status in OK:
                    return
                trouble = answer.said
            except OSError as error:
                reason = getattr(error, "reason", error)
                if isinstance(reason, ssl.SSLCertVerificationError):
                    text = f"the certificate of {self.url} is refused: {reason.verify_message}"
                    raise FailedError(text) from None
                trouble = str(reason)
            if time.monotonic() > deadline:
                raise FailedError(f"{self.url} is not ready within {patience} s: {trouble}")
            time.sleep(0.3)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")
