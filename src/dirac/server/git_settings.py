"""Which repositories of git this installation's configuration follows, and which follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from dirac.core.secrets import SecretReference
from dirac.resources.repositories.git import GitBranch, Place, check_place
from dirac.resources.secrets.resolving import ReferredSecret, Secrets

if TYPE_CHECKING:
    from dirac.server.settings import Settings


class GitPlace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A branch of a repository, and who this server is there."""

    url: Annotated[
        str, Meta(description="Address of the repository: https://, ssh:// or file://; never with a password")
    ]
    branch: Annotated[str, Meta(description="Name of the branch")] = "main"
    directory: Annotated[str, Meta(description="Directory of the files; if not given, the whole")] = ""
    user: Annotated[str, Meta(description="Name to show with the password")] = "git"
    password: Annotated[
        SecretReference | None, Meta(description="Where the password or access token is, for https")
    ] = None
    ssh_key: Annotated[SecretReference | None, Meta(description="Where the private key is, for ssh")] = None
    known_hosts: Annotated[
        str | None, Meta(description="File with the keys of the hosts, for ssh; else the machine's")
    ] = None
    ca_file: Annotated[
        str | None, Meta(description="Authorities of its certificate (PEM), for https; else the machine's")
    ] = None


class GitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Repositories of git beside the configuration; the same for all servers and workers."""

    source: Annotated[GitPlace | None, Meta(description="Whose commits become versions")] = None
    mirror: Annotated[
        GitPlace | None, Meta(description="Where versions become commits; may be the same as `source`")
    ] = None


def git_places(given: GitSettings) -> dict[str, GitPlace]:
    """Return the places that are given, by role."""
    found = {"source": given.source, "mirror": given.mirror}
    return {role: place for role, place in found.items() if place is not None}


def git_branches(settings: Settings, secrets: Secrets) -> dict[str, GitBranch]:
    """Return the branches, by role.

    Raises:
        InvalidInputError: An address would not be safe.
    """
    return {
        role: GitBranch(_place(settings, given, f"git.{role}", secrets), settings.path("git"))
        for role, given in git_places(settings.git).items()
    }


def _place(settings: Settings, given: GitPlace, option: str, secrets: Secrets) -> Place:
    def secret(name: str, reference: SecretReference | None) -> ReferredSecret | None:
        return None if reference is None else ReferredSecret(reference, f"{option}.{name}", secrets)

    place = Place(
        url=given.url,
        branch=given.branch,
        directory=given.directory,
        user=given.user,
        password=secret("password", given.password),
        ssh_key=secret("ssh_key", given.ssh_key),
        known_hosts=None if given.known_hosts is None else settings.path(given.known_hosts),
        ca_file=None if given.ca_file is None else settings.path(given.ca_file),
    )
    check_place(place, option)
    return place
