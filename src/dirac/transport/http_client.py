"""HTTP client base: JSON by msgspec, bearer tokens that renew themselves, tries again within a deadline.

The blocking twin `http_client_sync` is generated from this module by ``python -m dirac.client._generate``.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from dirac.core.entropy import Entropy, SystemEntropy
from dirac.core.errors import DiracError, InvalidInputError, UnauthenticatedError, UnavailableError
from dirac.core.time import Clock, SystemClock
from dirac.transport._httpx import Counted, client_options, load
from dirac.transport.retry import NOT_NOW, SAFE_METHODS, BackOff, retry_after
from dirac.transport.wire import encode, error_from_wire

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Progress = Callable[[int, int], None]


class TokenSource(Protocol):
    """Where the client gets its access token from."""

    async def token(self) -> str | None:
        """Return an access token, None if there is none.

        Raises:
            UnauthenticatedError: There was one, and it cannot be renewed.
        """
        ...

    async def renew(self, refused: str) -> str | None:
        """Return another token after the server refused one, None if there is no other."""
        ...


class FixedToken:
    """One token that nobody renews."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    async def token(self) -> str | None:
        """Return the token."""
        return self._token

    async def renew(self, refused: str) -> str | None:  # noqa: ARG002 - the protocol's signature
        """Return None: there is no other."""
        return None


class Answer(msgspec.Struct, frozen=True):
    """What the server answered.

    Attributes:
        status: HTTP status.
        headers: Names in lower case.
        content: The body.
    """

    status: int
    headers: dict[str, str]
    content: bytes

    def read(self, kind: type[T]) -> T:
        """Read the body as JSON of a type.

        Raises:
            UnavailableError: It is something else: not our server, or one of another version.
        """
        try:
            return msgspec.json.decode(self.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnavailableError(
                f"the server's answer cannot be understood: {error}",
                hint="Is this the address of a DIRAC server, and of a version this client knows",
            ) from error


class HttpClient:
    """Sends requests to one server.

    Args:
        base_url: ``http[s]://host[:port]`` of the server.
        tokens: Source of access tokens.
        deadline: Seconds within which a call may be tried again.
        timeout: Seconds without any byte after which one try is given up.
        clock: The time.
        entropy: Source of the jitter.
        transport: An httpx transport instead of the network.
        back_off: Pauses between tries.
        ca_file: Authorities to believe beside those of the machine.
        certificate: A certificate or proxy and its key (PEM) to show.
    """

    def __init__(
        self,
        base_url: str,
        *,
        tokens: TokenSource | None = None,
        deadline: float = 30.0,
        timeout: float = 30.0,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        back_off: BackOff | None = None,
        ca_file: Path | None = None,
        certificate: Path | None = None,
    ) -> None:
        self.base_url = _address(base_url)
        self.tokens = tokens or FixedToken(None)
        self.deadline = deadline
        self._timeout = timeout
        self._clock: Clock = clock or SystemClock()
        self._entropy: Entropy = entropy or SystemEntropy()
        self._transport = transport
        self._back_off = back_off or BackOff()
        self._trust = ca_file, certificate
        # Shared between all views of this client (`within`).
        self._clients: dict[str, httpx.AsyncClient] = {}

    def within(self, deadline: float) -> Self:
        """Return a view of this client, with the same connections, that tries for another time (seconds)."""
        view = copy(self)
        view.deadline = deadline
        return view

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        while self._clients:
            await self._clients.popitem()[1].aclose()

    async def call(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        silence: float | None = None,
    ) -> T:
        """Send a request and read the answer as a type; see `send`."""
        answer = await self.send(
            method,
            path,
            params=params,
            body=body,
            headers=headers,
            repeatable=repeatable,
            silence=silence,
        )
        return answer.read(kind)

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        authorised: bool = True,
        accepted: frozenset[int] = frozenset(),
        silence: float | None = None,
    ) -> Answer:
        """Send a request, again if need be, and return the answer.

        Args:
            method: HTTP method.
            path: Path on the server.
            params: Query; absent values (None) are left out.
            body: What is sent as JSON; None for no body.
            form: What is sent as a form instead.
            headers: More headers.
            repeatable: Whether a request that may have been carried out can be sent again. By default
                that is so for all methods but POST, and for a POST with an ``Idempotency-Key``.
            authorised: Whether the access token goes with it.
            accepted: Statuses from 400 on that the caller wants to see instead of an error.
            silence: Seconds without any byte after which one try is given up.

        Raises:
            DiracError: The error that the server raised, or UnavailableError when it did not answer.
        """
        sent = dict(headers or {})
        if repeatable is None:
            repeatable = method in SAFE_METHODS or "idempotency-key" in {name.lower() for name in sent}
        arguments: dict[str, Any] = {
            "params": {name: _text(value) for name, value in (params or {}).items() if value is not None}
        }
        if form is not None:
            arguments["data"] = dict(form)
        elif body is not None:
            arguments["content"] = encode(body)
            sent["Content-Type"] = "application/json"

        async def once(seconds: float) -> Answer:
            return await self._once(
                method,
                self.base_url + path,
                {**arguments, "headers": sent, "timeout": min(silence or self._timeout, seconds)},
                authorised=authorised,
                accepted=accepted,
            )

        return await self._repeat(once, repeatable=repeatable)

    async def _once(
        self, method: str, url: str, arguments: dict[str, Any], *, authorised: bool, accepted: frozenset[int]
    ) -> Answer:
        """Make one try, or two when the token turns out to be refused and another can be had."""
        token = await self.tokens.token() if authorised else None
        answer = await self._exchange(method, url, arguments, token)
        if answer.status == 401 and token is not None:
            other = await self.tokens.renew(token)
            if other is not None and other != token:
                answer = await self._exchange(method, url, arguments, other)
        if answer.status == 401 and authorised and token is None:
            raise UnauthenticatedError("this needs a login", hint="Log in first: dirac login")
        if answer.status >= 300 and answer.status not in accepted:
            raise _Refused(answer)
        return answer

    async def _exchange(self, method: str, url: str, arguments: dict[str, Any], token: str | None) -> Answer:
        if token is not None:
            bearer = {"Authorization": f"Bearer {token}"}
            arguments = {**arguments, "headers": {**arguments["headers"], **bearer}}
        response = await self._client(url).request(method, url, **arguments)
        return Answer(response.status_code, _lower(response.headers), response.content)

    async def upload(
        self, url: str, fields: Mapping[str, str], file: Path, *, progress: Progress | None = None
    ) -> None:
        """Send a file as a form, all fields first, to a signed address; no token goes with it.

        Args:
            url: Where to; relative addresses are on this server.
            fields: What the address was signed with.
            file: The file.
            progress: Called with the bytes sent and the bytes in all.

        Raises:
            DiracError: As for `send`; the upload is tried again since it is the same each time.
        """
        target = self._absolute(url)
        size = os.path.getsize(file)  # noqa: PTH202, ASYNC240 - local, and no slower than opening it

        async def once(seconds: float) -> None:
            with file.open("rb") as content:
                response = await self._client(target).post(
                    target,
                    data=dict(fields),
                    files={"file": (file.name, cast("IO[bytes]", Counted(content, size, progress)))},
                    timeout=min(self._timeout, seconds),
                )
            if response.status_code >= 300:
                raise _Refused(Answer(response.status_code, _lower(response.headers), response.content))

        await self._repeat(once, repeatable=True)

    async def download(self, url: str, file: Path, *, progress: Progress | None = None) -> None:
        """Store what a signed address holds in a file; no token goes with the request.

        Args:
            url: Where from; relative addresses are on this server.
            file: Where to; it is replaced when all has come.
            progress: Called with the bytes that came and the bytes in all (0 if unknown).

        Raises:
            DiracError: As for `send`.
        """
        target = self._absolute(url)
        part = file.with_name(f".{file.name}.part")

        async def once(seconds: float) -> None:
            timeout = min(self._timeout, seconds)
            async with self._client(target).stream("GET", target, timeout=timeout) as response:
                if response.status_code >= 300:
                    content = await response.aread()
                    raise _Refused(Answer(response.status_code, _lower(response.headers), content))
                done, total = 0, int(response.headers.get("content-length", "0"))
                with part.open("wb") as out:
                    async for chunk in response.aiter_bytes():
                        out.write(chunk)
                        done += len(chunk)
                        if progress is not None:
                            progress(done, total)

        try:
            await self._repeat(once, repeatable=True)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)

    async def _repeat(self, once: Callable[[float], Awaitable[T]], *, repeatable: bool) -> T:
        """Try until it works, the failure is final, or the deadline does not allow another try."""
        end = self._clock.monotonic() + self.deadline
        tries = 0
        while True:
            tries += 1
            try:
                return await once(max(1.0, end - self._clock.monotonic()))
            except Exception as error:
                failure = self._judge(error)
                if failure is None:
                    raise
            again = failure.never_sent or (repeatable and failure.passing)
            pause = self._back_off.pause(tries, self._entropy, retry_after(failure.error))
            if not again or self._clock.monotonic() + pause > end:
                raise failure.error
            await self._clock.sleep(pause)

    def _judge(self, error: Exception) -> _Failure | None:
        """Say what the end of a try means; None for what is none of our business."""
        httpx = load()
        if isinstance(error, _Refused):
            return _Failure(error.error, passing=error.answer.status in NOT_NOW)
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return _Failure(InvalidInputError(f"{self.base_url!r} is no address of a server: {error}"))
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            return _Failure(self._no_answer(error), never_sent=True)
        if isinstance(error, httpx.RequestError):
            return _Failure(self._no_answer(error), passing=True)
        return None

    def _no_answer(self, error: Exception) -> UnavailableError:
        what = str(error) or type(error).__name__
        return UnavailableError(
            f"{self.base_url} does not answer: {what}", hint="Is the address right, and the server running"
        )

    def _absolute(self, url: str) -> str:
        return self.base_url + url if url.startswith("/") else url

    def _client(self, url: str) -> httpx.AsyncClient:
        """Return the connections for a kind of address; certificates are loaded for https only."""
        scheme = urlsplit(url).scheme
        client = self._clients.get(scheme)
        if client is None:
            client = load().AsyncClient(transport=self._transport, **client_options(scheme, *self._trust))
            self._clients[scheme] = client
        return client


class _Refused(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer
        self.error: DiracError = error_from_wire(answer.status, answer.content, answer.headers)


@dataclass(frozen=True, slots=True)
class _Failure:
    """How a try failed: whether the server can have seen it, and whether the fault may pass."""

    error: DiracError
    never_sent: bool = False
    passing: bool = False


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise InvalidInputError(f"{url!r} is no address of a server", hint="It begins with https://")
    return url.rstrip("/")


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _text(value: Any) -> str | list[str]:
    if isinstance(value, list):  # the name is there once for each
        return [str(_text(each)) for each in value]
    return str(value).lower() if isinstance(value, bool) else str(value)
