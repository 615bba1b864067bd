"""References to secrets: each leads to one, from this host; and git repositories, which need them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from dirac.core.errors import DiracError
from dirac.core.secrets import names_a_secret, references_in, secret_text
from dirac.resources.secrets.resolving import ReferredSecret, Secrets
from dirac.server.doctor.model import Ailment, Check, Patient, in_thread
from dirac.server.git_settings import git_branches
from dirac.server.providers import provider_secrets
from dirac.server.references import Limits
from dirac.server.secret_settings import own_references
from dirac.systems.configuration.models import Tree


def checks(patient: Patient) -> list[Check]:
    """Return the checks of what is referred to."""
    found = [Check("secrets.settings", in_thread(_own)), Check("secrets.configuration", _of_configuration)]
    if patient.settings.git.source is not None or patient.settings.git.mirror is not None:
        found.append(Check("configuration.git", _git))
    return found


def _own(patient: Patient) -> str:
    settings = patient.settings
    secrets = settings.make_secrets()
    # Files that are named as such have checks of their own.
    own = {
        name: each
        for name, each in own_references(settings).items()
        if not name.endswith(("_file", "tls_key"))
    }
    faults = [fault for name, each in own.items() if (fault := _tried(ReferredSecret(each, name, secrets)))]
    if faults:
        raise Ailment(
            "; ".join(faults),
            cause="This process would use the last good secret, or not begin",
            mend="Compare the references in the settings with where the secrets are",
        )
    plain = settings.sandboxes.settings.items()
    written = [name for name, value in plain if names_a_secret(name) and isinstance(value, str)]
    if isinstance(settings.database.url, str) and secret_text(settings.database.url):
        written.append("database.url")
    if written:
        raise Ailment(
            f"there are secrets in the settings file itself: {', '.join(written)}",
            cause="Whoever may read the file, or a copy of it, has them",
            mend="Put each into a file of mode 600, and write {file = FILE} instead",
            passable=True,
        )
    return f"{len(own)} references lead to secrets"


async def _of_configuration(patient: Patient) -> str:
    tree, secrets = await patient.tree(), patient.settings.make_secrets()
    handles = list(_referred(patient, tree, secrets))
    tried = await asyncio.gather(*(asyncio.to_thread(_tried, each) for each in handles))
    if faults := [fault for fault in tried if fault]:
        raise Ailment(
            "; ".join(faults),
            cause="Processes use the last good secret, or cannot do what needs it",
            mend="Put the secret there, or change the reference: dirac config pull DIR",
        )
    return f"{len(handles)} references lead to secrets"


def _referred(patient: Patient, tree: Tree, secrets: Secrets) -> Iterator[ReferredSecret]:
    limits = Limits(patient.settings)
    for name, vo in tree.virtual_organisations.items():
        if not isinstance(vo.identity_provider, str):
            found = provider_secrets(vo.identity_provider, patient.settings, secrets)
            for one in filter(None, found):
                yield ReferredSecret(one.reference, f"{name}: {one.option}", secrets, limits)
    for site in tree.sites.values():
        for name, element in site.computing_elements.items():
            for path, reference in references_in(element.settings):
                yield ReferredSecret(reference, f"{name}: {'.'.join(path)}", secrets, limits)


async def _git(patient: Patient) -> str:
    faults, said = [], []
    for role, branch in git_branches(patient.settings, patient.settings.make_secrets()).items():
        try:
            newest = await branch.fetch()
        except DiracError as error:
            faults.append(f"{role}: {error}")
        else:
            said.append(f"{role}: {branch.place.name} is at {(newest or 'nothing')[:12]}")
    if faults:
        raise Ailment(
            "; ".join(faults),
            cause="Commits are not taken over, or versions not sent",
            mend="Check address, branch and credentials in [git] of the settings; dirac config git",
        )
    return "; ".join(said)


def _tried(secret: ReferredSecret) -> str:
    try:
        secret.read_bytes()
    except DiracError as error:
        return str(error)
    return ""
