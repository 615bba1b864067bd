# Generated from dirac/client/aio/client.py by python -m dirac.client._generate; do not edit.
"""The client: one server, one identity, and a room of calls for each system."""

from __future__ import annotations

from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from dirac.client.session import Session, find_session
from dirac.client.sync.audit import Audit
from dirac.client.sync.auth import Auth
from dirac.client.sync.config import Config
from dirac.client.sync.credentials import Credentials
from dirac.client.sync.jobs import Jobs
from dirac.client.sync.pilots import Pilots
from dirac.client.sync.proxies import Proxies
from dirac.client.sync.sandboxes import Sandboxes
from dirac.client.sync.sites import Sites
from dirac.client.sync.tasks import Tasks
from dirac.client.sync.tokens import FileTokens, SessionTokens
from dirac.core.entropy import Entropy, SystemEntropy
from dirac.transport.blocking import BlockingClock, SystemBlockingClock
from dirac.transport.http_client_sync import FixedToken, HttpClient, TokenSource
from dirac.transport.retry import BackOff

if TYPE_CHECKING:
    from pathlib import Path

    import httpx


class Client:
    """A DIRAC server, as one user (or pilot, or job) sees it.

    With a `token` it reads no files. Otherwise the server and the login come from the session: the
    environment, the configuration file and the stored credentials (see `dirac.client.session`).

    Args:
        server: ``http[s]://host[:port]``; the session's if not given.
        token: An access token, or a source of them.
        session: Where the server and the credentials are; found if not given.
        vo: The virtual organisation whose login is used; the session's current one if not given.
        deadline: Seconds within which a call may be tried again.
        timeout: Seconds without any byte after which one try is given up.
        clock: The time.
        entropy: Source of idempotency keys and jitter.
        transport: An httpx transport instead of the network, for tests.
        back_off: Pauses between tries.
        certificate: File of a certificate or proxy and its key (PEM), shown in place of a token.

    Attributes:
        auth: Logins and tokens.
        credentials: What others hold, for those who look after them.
        jobs: Jobs, from submission to output.
        sandboxes: Files that travel with jobs.
        pilots: Pilots.
        proxies: Proxies that the server keeps.
        sites: Sites where jobs run.
        config: The configuration.
        tasks: Background work, for operators.

    Raises:
        InvalidInputError: No server is known, or its address is none.

    Example::

        with Client() as client:
            for row in client.jobs.iterate(parameters=["JobID", "Status"]):
                print(row)
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        token: str | TokenSource | None = None,
        session: Session | None = None,
        vo: str | None = None,
        deadline: float = 30.0,
        timeout: float = 30.0,
        clock: BlockingClock | None = None,
        entropy: Entropy | None = None,
        transport: httpx.BaseTransport | None = None,
        back_off: BackOff | None = None,
        certificate: Path | None = None,
    ) -> None:
        clock = clock or SystemBlockingClock()
        entropy = entropy or SystemEntropy()
        if session is None and (server is None or token is None):
            session = find_session(server, vo=vo)
        self.session = session
        if session is not None:
            server = server or session.server
        http = HttpClient(
            server or "",
            deadline=deadline,
            timeout=timeout,
            clock=clock,
            entropy=entropy,
            transport=transport,
            back_off=back_off,
            ca_file=session.ca_file if session is not None else None,
            certificate=certificate,
        )
        self._clock: BlockingClock = clock
        self._entropy: Entropy = entropy
        http.tokens = FixedToken(None) if certificate and token is None else self._tokens(http, token)
        self._dress(http)

    def _tokens(self, http: HttpClient, token: str | TokenSource | None) -> TokenSource:
        if isinstance(token, str):
            return FixedToken(token)
        if token is not None:
            return token
        session = self.session
        if session is None:
            return FixedToken(None)
        if session.token_file is not None:
            return FileTokens(session.token_file)
        return SessionTokens(session, Auth(http, None, self._clock).refresh, self._clock)

    def _dress(self, http: HttpClient) -> None:
        self._http = http
        self.auth = Auth(http, self.session, self._clock)
        self.credentials = Credentials(http)
        self.sandboxes = Sandboxes(http)
        self.jobs = Jobs(http, self.sandboxes, self._clock, self._entropy)
        self.pilots = Pilots(http)
        self.proxies = Proxies(http)
        self.sites = Sites(http)
        self.config = Config(http)
        self.tasks = Tasks(http, self._clock)
        self.audit = Audit(http)

    @property
    def server(self) -> str:
        """Address of the server, without a slash at its end."""
        return self._http.base_url

    def within(self, deadline: float) -> Self:
        """Return this client, with the same connections, trying for another time (seconds).

        Example::

            client.within(600).jobs.set_status(updates)
        """
        view = copy(self)
        view._dress(self._http.within(deadline))
        return view

    def health(self, probe: Literal["live", "ready", "startup"] = "ready") -> dict[str, str]:
        """Ask the server how it is; needs no login.

        Args:
            probe: ``live`` the process works, ``ready`` it can serve, ``startup`` its start is over.

        Raises:
            UnavailableError: It is not well, or does not answer.

        Example::

            client.health()  # {"status": "ready"}
        """
        answer = self._http.send("GET", f"/api/health/{probe}", authorised=False)
        return answer.read(dict[str, str])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
