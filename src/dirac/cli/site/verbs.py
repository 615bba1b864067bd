"""The verbs: for each its playbook, how dangerous it is, and its help."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Risk(Enum):
    """What a verb does to a site."""

    LOOKS = "changes nothing"
    CHANGES = "changes the site"
    DESTROYS = "can lose something; always asks for the site's name"


class Verb(NamedTuple):
    """A verb of ``dirac site``.

    Attributes:
        name: The verb, also the name of its playbook.
        risk: What it does to a site.
        help: What it does, as its ``--help`` says it.
        examples: Lines to type.
        arguments: Given to ``ansible-playbook`` always.
        adds_secrets: Secrets that are new in this version are made before it runs.
    """

    name: str
    risk: Risk
    help: str
    examples: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    adds_secrets: bool = False


_JSON = "  # {site, verb, ok, hosts, roles, failures, report, ...}"

_ALL = (
    Verb(
        "plan",
        Risk.LOOKS,
        """Show what `deploy` would change, and change nothing.

        The roles run in Ansible's check mode: what would change is listed by host and task, with --diff also
        the lines of the files.""",
        (
            "dirac site plan observatory",
            "dirac site plan observatory --diff --limit db1",
            f"dirac site plan observatory --json{_JSON}",
        ),
        arguments=("--check",),
        adds_secrets=True,
    ),
    Verb(
        "deploy",
        Risk.CHANGES,
        """Bring all hosts to what the inventory says, from bare hosts to a verified site.

        It may be repeated: what is as it should be stays as it is and is not restarted. After a failure, mend
        the cause and type the same again; it goes on where it has to. Secrets that this version needs and the
        site does not have yet are made before.

        Exit codes of all verbs: 0 all is well, 1 something failed, 2 wrong input, 3 hosts not reached.""",
        (
            "dirac site deploy observatory",
            "dirac site deploy observatory --limit wn1,wn2",
            "dirac site deploy observatory --check --diff",
            f"dirac site deploy observatory --json{_JSON}",
        ),
        adds_secrets=True,
    ),
    Verb(
        "status",
        Risk.LOOKS,
        """Show what runs where, in which version, and whether it answers.""",
        ("dirac site status observatory", f"dirac site status observatory --json{_JSON}"),
    ),
    Verb(
        "verify",
        Risk.LOOKS,
        """Ask the services themselves: log in, submit a job for each VO, wait for its output.""",
        ("dirac site verify observatory", f"dirac site verify observatory --json{_JSON}"),
    ),
    Verb(
        "doctor",
        Risk.LOOKS,
        """Examine hosts and services; for each fault say its cause and the command that mends it.

        It works on bare hosts too: can they become a site?""",
        (
            "dirac site doctor observatory",
            "dirac site doctor observatory --limit db1",
            f"dirac site doctor observatory --json{_JSON}",
        ),
    ),
    Verb(
        "reconfigure",
        Risk.CHANGES,
        """Bring settings and the configuration to what the inventory says; software stays as it is.""",
        (
            "dirac site reconfigure observatory",
            "dirac site reconfigure observatory --check --diff",
            f"dirac site reconfigure observatory --json{_JSON}",
        ),
        adds_secrets=True,
    ),
    Verb(
        "upgrade",
        Risk.CHANGES,
        """Bring a running site to this checkout's version, without refusing a request.

        Validate, back up, expand the database, restart the servers one after the other, contract the
        database, verify.""",
        (
            "git pull && dirac site upgrade observatory",
            f"dirac site upgrade observatory --json{_JSON}",
        ),
        adds_secrets=True,
    ),
    Verb(
        "rollback",
        Risk.DESTROYS,
        """Go back to the version before the last upgrade.""",
        (
            "dirac site rollback observatory",
            f"dirac site rollback observatory --confirm observatory --json{_JSON}",
        ),
    ),
    Verb(
        "backup",
        Risk.LOOKS,
        """Back up the whole state of a site as one consistent set, encrypted, while it runs.""",
        ("dirac site backup observatory", f"dirac site backup observatory --json{_JSON}"),
    ),
    Verb(
        "restore",
        Risk.DESTROYS,
        """Put a backup in place of what the site has, also on other hosts than it was made on.""",
        (
            "dirac site restore observatory",
            "dirac site restore observatory --from 20260102T030405Z",
            f"dirac site restore observatory --confirm observatory --json{_JSON}",
        ),
        adds_secrets=True,
    ),
    Verb(
        "rotate-secrets",
        Risk.DESTROYS,
        """Give a site new secrets: all that can be renewed without harm, or those that are named.

        New values are written beside the old ones, the services take them over, then the old ones are
        forgotten. After a failure, type the same again: it goes on with the same new values.""",
        (
            "dirac site rotate-secrets observatory",
            "dirac site rotate-secrets observatory vault_mariadb_dirac_password",
            f"dirac site rotate-secrets observatory --confirm observatory --json{_JSON}",
        ),
        adds_secrets=True,
    ),
    Verb(
        "add-vo",
        Risk.CHANGES,
        """Add a virtual organisation to a site: write its file, and apply it.

        The file is vos/VO.yml of the site; one that is there already is applied as it is.""",
        (
            "dirac site add-vo observatory bio --user alice --admin bob",
            "dirac site add-vo observatory bio --support 'Ask in the greenhouse' --no-apply",
            f"dirac site add-vo observatory bio --user alice --json{_JSON}",
        ),
        adds_secrets=True,
    ),
    Verb(
        "remove",
        Risk.DESTROYS,
        """Take a site away from its hosts, with all its data. Inventory, secrets and key stay.""",
        (
            "dirac site remove observatory",
            f"dirac site remove observatory --confirm observatory --json{_JSON}",
        ),
    ),
)

VERBS = {verb.name: verb for verb in _ALL}
