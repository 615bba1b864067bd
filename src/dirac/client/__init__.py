"""The client library: `Client` and `AsyncClient`.

::

    from dirac.client import Client

    with Client() as client:
        jobs = client.jobs.submit('Executable = "/bin/hostname"; OutputSandbox = { "std.out" };')
        client.jobs.wait([job.JobID for job in jobs])

Both are imported when they are first used: the command line starts without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dirac.client.aio.client import AsyncClient
    from dirac.client.session import Session
    from dirac.client.sync.client import Client

__all__ = ["AsyncClient", "Client", "Session"]


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name == "AsyncClient":
        from dirac.client.aio.client import AsyncClient

        return AsyncClient
    if name == "Client":
        from dirac.client.sync.client import Client

        return Client
    if name == "Session":
        from dirac.client.session import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
