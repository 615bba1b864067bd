"""Who may do what with jobs, sandboxes and pilots.

A function that is given to `allowed` raises or does nothing. What a caller may see is a `Visibility`: the
stores put it into their queries, so that what is out of sight cannot be told from what does not exist.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dirac.core.errors import NotAllowedError
from dirac.systems.identity.models import Identity, Place, Property


class Visibility(msgspec.Struct, frozen=True):
    """What of a kind of thing somebody may see or change.

    Attributes:
        vo: Only what belongs to this virtual organisation; None for all.
        owner_sub: Only what belongs to this subject of it; None for all.
        places: Besides, what is at these sites or computing elements; only of pilots.
    """

    vo: str | None = None
    owner_sub: str | None = None
    places: tuple[Place, ...] = ()


def readable(identity: Identity) -> Visibility:
    """Return whose jobs and sandboxes somebody may see."""
    if is_service_administrator(identity):
        return Visibility()
    return changeable(identity)


def changeable(identity: Identity) -> Visibility:
    """Return whose jobs and sandboxes somebody may change; nobody reaches beyond their own VO."""
    if identity.kind == "user" and Property.JOB_ADMINISTRATOR in identity.properties:
        return Visibility(vo=identity.vo)
    return Visibility(vo=identity.vo, owner_sub=identity.sub)


def readable_pilots(identity: Identity) -> Visibility:
    """Return whose pilots somebody may see: those of the VO, and all at a site that one looks after."""
    if is_service_administrator(identity):
        return Visibility()
    return Visibility(vo=identity.vo, places=tuple(sorted(identity.manages)))


def is_service_administrator(identity: Identity) -> bool:
    """Tell whether somebody operates the installation."""
    return identity.kind in ("user", "service") and Property.SERVICE_ADMINISTRATOR in identity.properties


def submit(identity: Identity) -> None:
    """Allow the submission of jobs, and what is needed for it."""
    _need(identity, "submit jobs", Property.NORMAL_USER)


def read_jobs(identity: Identity) -> None:
    """Allow looking at jobs; which ones is a matter of `readable`."""
    if not is_service_administrator(identity):
        _need(identity, "look at jobs", Property.NORMAL_USER, Property.JOB_ADMINISTRATOR)


def read_shadow(identity: Identity) -> None:
    """Allow looking at what a candidate of the configuration would change: it is told by groups."""
    if not is_service_administrator(identity):
        _need(identity, "look at what a candidate would change", Property.JOB_ADMINISTRATOR)


def change_jobs(identity: Identity) -> None:
    """Allow killing, rescheduling and deleting jobs; which ones is a matter of `changeable`."""
    _need(identity, "change jobs", Property.NORMAL_USER, Property.JOB_ADMINISTRATOR)


def act_as_run(identity: Identity) -> None:
    """Allow what only a run of a job does: it, or the pilot that holds it."""
    if identity.kind not in ("pilot", "job"):
        raise _refusal(identity, "act for a running job", "Only pilots and the jobs they run may")


def update_jobs(identity: Identity) -> None:
    """Allow status updates, heartbeats and metadata: from runs, and from those who may change jobs."""
    if identity.kind not in ("pilot", "job"):
        change_jobs(identity)


def match(identity: Identity) -> None:
    """Allow asking for work."""
    if identity.kind != "pilot":
        raise _refusal(identity, "ask for work", "Only pilots may")


def upload_sandbox(identity: Identity) -> None:
    """Allow the upload of an archive: for jobs to be submitted, or by a run for its outputs."""
    if identity.kind != "job":
        submit(identity)


def download_sandbox(identity: Identity) -> None:
    """Allow the download of archives: one's own, or by a run those of its job."""
    if identity.kind != "job":
        read_jobs(identity)


def register_pilots(identity: Identity) -> None:
    """Allow the registration of pilots that were started elsewhere."""
    if not is_service_administrator(identity):
        _need(identity, "register pilots", Property.GENERIC_PILOT)


def update_pilots(identity: Identity) -> None:
    """Allow changes of pilot records; a pilot may change its own."""
    if identity.kind != "pilot":
        register_pilots(identity)


def read_pilots(identity: Identity) -> None:
    """Allow looking at pilots; which ones is a matter of `readable_pilots`."""
    if not is_service_administrator(identity) and not (identity.kind == "user" and identity.manages):
        _need(identity, "look at pilots", Property.NORMAL_USER, Property.JOB_ADMINISTRATOR, Property.OPERATOR)


def start_pilots(identity: Identity) -> None:
    """Allow worker nodes to ask for pilots and to report about theirs: each for its computing element."""
    if identity.kind != "node":
        raise _refusal(identity, "start pilots", "Only worker nodes may, with a credential of their own")


def renew_pilot(identity: Identity) -> None:
    """Allow a pilot to renew its own token."""
    if identity.kind != "pilot":
        raise _refusal(identity, "renew a pilot's token", "Only that pilot may")


def _need(identity: Identity, deed: str, *properties: Property) -> None:
    """Refuse anybody but a person whose group has one of these properties."""
    if identity.kind != "user" or identity.properties.isdisjoint(properties):
        raise _refusal(identity, deed, f"It takes a group with {' or '.join(properties)}")


def _refusal(identity: Identity, deed: str, hint: str) -> NotAllowedError:
    return NotAllowedError(f"{identity.username!r} of group {identity.group!r} may not {deed}", hint=hint)


REACH: dict[Callable[[Identity], None], Callable[[Identity], Visibility]] = {
    read_jobs: readable,
    download_sandbox: readable,
    change_jobs: changeable,
    update_jobs: changeable,
    read_pilots: readable_pilots,
}
"""What is behind a door that is open, for those where it is not the same for all who pass."""
