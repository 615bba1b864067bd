"""Rotating secrets: new values beside the old ones, the playbook, then the old ones are forgotten.

Each step replaces the file of the secrets at once. Between two of them the file says by itself where the
rotation is: what has a ``vault_previous_`` is under way. So a run that failed, at whatever moment, is
repeated and goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from dirac.cli.site.places import Site
from dirac.cli.site.playbook import Outcome
from dirac.cli.site.secrets import keep
from dirac.cli.site.secrets.vault import vault_of
from dirac.core.errors import InvalidInputError


def begin(site: Site, names: Sequence[str]) -> list[str]:
    """Write new values; returns the names of all secrets that are being rotated.

    A rotation that has not ended is continued before another one begins.

    Raises:
        InvalidInputError: There is no such secret, or nothing to rotate.
        DiracError: The secrets cannot be read or written.
    """
    vault = vault_of(site)
    values = vault.read()
    under_way = [name for secret in keep.rotating(values) for name in secret.names]
    if under_way:
        print(f"Going on with the rotation of {', '.join(under_way)}", file=sys.stderr)
        return under_way
    chosen = keep.choose(values, names)
    if not chosen:
        raise InvalidInputError(
            f"{site.name} has no secrets to rotate", hint=f"dirac site secrets {site.name}"
        )
    vault.write(keep.begin(values, chosen, site.name, datetime.now(UTC)))
    return [name for secret in chosen for name in secret.names]


def settle(site: Site, names: Sequence[str], outcome: Outcome, *, as_json: bool) -> None:
    """Forget the old values if the services have the new ones, else say how to go on."""
    if outcome.code:
        print(
            "Both values are kept; what was changed works. Mend the cause, then go on: "
            f"dirac site rotate-secrets {site.name}",
            file=sys.stderr,
        )
        return
    vault = vault_of(site)
    vault.write(keep.end(vault.read()))
    outcome.document["rotated"] = list(names)
    if not as_json:
        print(f"New and in use: {', '.join(names)}")
