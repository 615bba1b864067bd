"""Writes the operator's page `authorisation.md`: ``python docs/developer/authorisation.py``.

Which properties open a route is found by asking the policies that the routes declare. What each role then
gets is the reviewed table of the contract tests, which ask the real application. A test compares the page
with what this makes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/operator/authorisation.md"
TABLES = ROOT / "tests/contract/authorisation"

_HEAD = """\
# Who may do what

<!-- Made by `python docs/developer/authorisation.py`; a test compares. -->

Whoever asks shows a token. It names a VO, a person, pilot or job of it, a group, and the group's properties.
A route has a policy, which opens it to kinds of bearers and to properties; a server with a route that has
none does not start. What is behind an open door is limited once more, in the queries: to what belongs to the
caller, to the VO for its administrators, or to everything for the installation's. What is out of sight cannot
be told from what does not exist.
"""
_TABLE_HEAD = """\
## Who did, who could, and why not

    dirac auth audit --since 1d --outcome refused     # the audit log
    dirac auth who-can kill job:42                    # the policy, and who of your VO that is
    dirac auth why-denied 5f0c1e9a5f0c1e9a            # X-Request-ID of the refusal

Every request that changes something, and that takes a right other than NormalUser, leaves a row in the
audit log (table `identity_audit`), in the transaction of the change: who, with which right and token,
what, on what, from where. So does each such request that fails, and every request of anybody that is
refused; of these at most 100 in an hour for one caller, all pilots of a VO being one, and its running
jobs another. Triggers refuse to change or remove rows: what is to go, goes by hand, as the owner of the
table.

Administrators of a VO (JobAdministrator) see what was done to their VO and refused to its members, those
of the installation (ServiceAdministrator) everything. What is done on a server's own host, with `dirac-
server`, is not in it.

## What each role gets

Everything here belongs to a user of a VO: a job that runs, its files, a login, a proxy. The rows are what the
application answers to a request for just that; they are reviewed by hand, and a test asks the application.

On every one of these routes, and tested there: 401 for tokens that are expired, not valid yet, for another
audience, of another issuer, not signed, signed with another key or with the public one; for tokens that were
revoked, by themselves or with their session, client, pilot, site, user or VO, or because a refresh token
came twice; for tokens of users who are suspended or gone; for certificates and proxies that are expired, on
their authority's list of revoked ones, of an authority or a person that nobody knows here, or shown by a
browser for somebody else's page. 403 for a suspended user's certificate, and for who shows a good one and
asks to be taken for what it is not.
"""


_STATES = """\
## Where the state counts

What a role gets of a job, a pilot, a login, a proxy or a client in each of its states; `job` and `pilot` are
those that had the job. A request that comes late may be answered, and change nothing.
"""


def application(state: str) -> Any:
    """Return an application with all routes, of a server put together as any."""
    from dirac.server.composition import build
    from dirac.server.control import make_master_key
    from dirac.server.serve import make_app
    from dirac.server.settings import Settings

    settings = Settings(state=state)
    make_master_key(settings)
    return make_app(build(settings))


def _doors() -> Iterator[str]:
    from fastapi.routing import APIRoute

    from dirac.systems.identity.logic.rights import openings
    from dirac.transport.routing import Allowed, Open, dependencies

    yield "| route | open to | policy |"
    yield "|---|---|---|"
    with tempfile.TemporaryDirectory() as state:
        app = application(state)
    rows = []
    for route in app.routes:
        if not isinstance(route, APIRoute):
            continue
        guard = next(n for n in dependencies(route.dependant) if isinstance(n, Allowed | Open))
        for method in sorted(route.methods):
            if isinstance(guard, Open):
                rows.append((route.path, method, "everybody, without a token", guard.reason))
            else:
                rows.append((route.path, method, "; ".join(openings(guard.policy)), _said(guard.policy)))
    for path, method, opened, said in sorted(rows):
        yield f"| `{method} {path}` | {opened} | {said} |"


def _said(policy: Any) -> str:
    return (policy.__doc__ or "").strip().splitlines()[0].rstrip(".")


def render() -> str:
    """Return the page."""
    lines = [_HEAD, "## Doors", "", *_doors(), "", _TABLE_HEAD, *_table("reviewed.txt"), "", _STATES]
    return "\n".join([*lines, *_table("reviewed_states.txt")]) + "\n"


def _table(name: str) -> list[str]:
    return ["```", (TABLES / name).read_text("utf-8").rstrip(), "```"]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    PAGE.write_text(render(), "utf-8")
