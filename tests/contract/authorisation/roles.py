"""The roles of the matrix: who they are, and their tokens, made with the installation's own keys."""

from __future__ import annotations

from dirac.server.composition import Installation
from dirac.systems.identity.logic.access import Grant
from dirac.systems.identity.models import Property

SITE, NODE_CE = "DIRAC.Observatory.org", "farm"
OWN, OTHER, FOREIGN = "ownpilot", "otherpilot", "foreignpilot"
USER = (Property.NORMAL_USER,)
VO_ADMINISTRATOR = (
    Property.NORMAL_USER,
    Property.JOB_ADMINISTRATOR,
    Property.PROXY_MANAGEMENT,
    Property.OPERATOR,
    Property.VO_ADMINISTRATOR,
)
INSTALLATION = (Property.SERVICE_ADMINISTRATOR, Property.CS_ADMINISTRATOR, Property.OPERATOR)

PEOPLE: dict[str, tuple[str, str, str, tuple[Property, ...]]] = {
    "owner": ("astro", "alice", "astro_user", USER),
    "peer": ("astro", "adam", "astro_user", USER),
    "other": ("bio", "bob", "bio_user", USER),
    "manager": ("bio", "max", "bio_user", USER),
    "noright": ("astro", "eve", "astro_guest", ()),
    "voadmin": ("astro", "ada", "astro_admin", VO_ADMINISTRATOR),
    "otheradm": ("bio", "ben", "bio_admin", VO_ADMINISTRATOR),
    "admin": ("astro", "root", "astro_root", INSTALLATION),
}
"""VO, subject, group and properties of the people."""

ROLES = {
    "anon": "nobody: no token",
    "owner": "the person whose job, login and files are asked for",
    "peer": "another member of the owner's group",
    "other": "a user of another VO",
    "manager": "a user of another VO who looks after the site where the pilots are",
    "noright": "a member of the owner's VO whose group has no property",
    "voadmin": "administrates the owner's VO: VOAdministrator, JobAdministrator, ProxyManagement, Operator",
    "otheradm": "the same of another VO",
    "pilot": "the pilot that runs the job",
    "pilot2": "another pilot of the VO",
    "opilot": "a pilot of another VO",
    "job": "the payload: the run of the job itself",
    "job2": "the run of another job of the owner",
    "node": "a worker node with its credential",
    "host": "a host with its certificate",
    "hostfor": "a trusted host that acts for the owner",
    "cert": "the owner, by certificate",
    "limited": "the owner's limited proxy",
    "admin": "a person who administrates the installation",
    "service": "the installation's own service, as its operator's commands are",
}
"""The columns of the reviewed table, in their order."""


async def tokens(installation: Installation, job: tuple[int, int], other: tuple[int, int]) -> dict[str, str]:
    """Return a token of each role but the nameless one.

    Args:
        installation: Whose keys sign.
        job: Number and attempt of the job that is asked for.
        other: The same of another job of its owner.
    """
    identity = installation.identity
    made = identity.tokens
    found = {
        role: (await made.user_token(Grant(vo, sub, sub, group, frozenset(map(str, properties)))))[0]
        for role, (vo, sub, group, properties) in PEOPLE.items()
    }
    for role, stamp, run in (("", OWN, job), ("2", OTHER, other)):
        found[f"pilot{role}"] = await made.pilot_token(stamp=stamp, vo="astro", seconds=3600)
        found[f"job{role}"] = await run_token(installation, run, stamp)
    found["opilot"] = await made.pilot_token(stamp=FOREIGN, vo="bio", seconds=3600)
    found["node"] = await identity.nodes.issue(SITE, NODE_CE)
    found["service"] = await made.service_token(INSTALLATION, 3600)
    return found


async def run_token(installation: Installation, run: tuple[int, int], stamp: str) -> str:
    """Return the token of one run of one job of alice's."""
    job_id, attempt = run
    return await installation.identity.tokens.job_token(
        job_id=job_id,
        attempt=attempt,
        vo="astro",
        owner_sub="alice",
        owner="alice",
        group="astro_user",
        stamp=stamp,
        seconds=3600,
    )
