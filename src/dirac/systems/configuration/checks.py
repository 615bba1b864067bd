"""What must fit together in a tree, beyond the types of its options.

The checks read plain values, not a typed tree, so that they still run on a text that has other faults.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dirac.core.addresses import in_the_clear
from dirac.core.errors import InvalidInputError
from dirac.core.secrets import (
    ADVICE,
    SecretReference,
    filled,
    names_a_secret,
    reference_fault,
    references_in,
    secret_text,
)
from dirac.systems.configuration.models.capabilities import IssuedBy
from dirac.systems.configuration.shape import Path, suggestion
from dirac.systems.configuration.trees import subject

Found = Iterator[tuple[Path, str]]
Installed = Callable[[str], Sequence[str]]
CheckComputing = Callable[[str, str, Mapping[str, Any]], None]
Refused = Callable[[SecretReference], str | None]

BUILT_IN_PROVIDER = "password"

_CLIENT_SECRETS = {
    "client_secret": None,
    "client_secret_file": "file",
    "client_secret_variable": "environment",
    "client_key": None,
}
_STAND_IN = "(a secret)"  # what plugins are shown in a check: nobody learns by one what is in a file
_ADVICE = (
    "secrets never belong in the configuration; put it into a file that only the server can read, "
    "and the file's name here"
)


def anything(_reference: SecretReference) -> str | None:
    """Say that a reference may lead anywhere."""
    return None


class Checker:
    """Finds what does not fit together.

    Args:
        installed: Gives the names of the plugins of a kind.
        check_computing: Raises `InvalidInputError` if a computing element of that plugin and name cannot
            have these settings.
        refused: Says why a reference to a secret may not be followed.

    Attributes:
        installed: Gives the names of the plugins of a kind.
    """

    def __init__(
        self, installed: Installed, check_computing: CheckComputing, refused: Refused = anything
    ) -> None:
        self.installed = installed
        self._check_computing = check_computing
        self._refused = refused

    def check(self, tree: Mapping[str, Any], within: Collection[str] | None = None) -> Found:
        """Yield the place and the text of every fault.

        Args:
            tree: All of it.
            within: Names of the VOs and sites that are looked at; of others only what they refer to. None
                for all.
        """
        vos = _section(tree, "virtual_organisations")
        for name, vo in vos.items():
            if within is None or name in within:
                yield from self._vo(vo, ("virtual_organisations", name))
        yield from _certificates(vos, _section(tree, "hosts"))
        for name, site in _section(tree, "sites").items():
            path = ("sites", name)
            yield from _listed(site, path, "virtual_organisations", vos, "VO")
            yield from _managers(site, vos, path)
            for element, options in _section(site, "computing_elements").items():
                yield from _managers(options, vos, (*path, "computing_elements", element))
            if within is None or name in within:
                for element, options in _section(site, "computing_elements").items():
                    yield from self._element(element, options, (*path, "computing_elements", element))
        yield from _free(tree, ())
        data = _section(tree, "data")
        elements = _section(data, "storage_elements")
        for name, element in elements.items():
            place = ("data", "storage_elements", name)
            yield from _listed(element, place, "sites", _section(tree, "sites"), "site")
            yield from _listed(element, place, "virtual_organisations", vos, "VO")
        for name, catalog in _section(data, "catalogs").items():
            yield from secrets_in(_section(catalog, "settings"), ("data", "catalogs", name, "settings"))
        directories = _section(data, "directories")
        for directory in directories:
            yield from _listed(directories, ("data", "directories"), directory, elements, "storage element")
        yield from _shadow(_section(_section(tree, "workload"), "shadow"), vos, _section(tree, "sites"))
        steps = dict.fromkeys(self.installed("dirac.optimiser"))
        yield from _listed(_section(tree, "workload"), ("workload",), "job_path", steps, "step")

    def _vo(self, vo: Mapping[str, Any], path: Path) -> Found:
        yield from _free(vo, path)
        groups = _section(vo, "groups")
        default = vo.get("default_group")
        if "groups" in vo and default is not None and default not in groups:
            yield (*path, "default_group"), f"there is no group `{default}`{suggestion(default, groups)}"
        yield from self._provider(vo, groups, (*path, "identity_provider"))
        yield from _capability_tokens(vo, groups, (*path, "capability_tokens"))
        subjects: dict[str, str] = {}
        for username, user in _section(vo, "users").items():
            place = (*path, "users", username)
            if "groups" in vo:
                yield from _listed(user, place, "groups", groups, "group")
            sub = subject(username, user.get("sub"))
            if sub in subjects:
                yield place, f"the subject `{sub}` is that of the user `{subjects[sub]}` as well"
            subjects.setdefault(sub, username)

    def _provider(self, vo: Mapping[str, Any], groups: Mapping[str, Any], path: Path) -> Found:
        provider = vo.get("identity_provider", BUILT_IN_PROVIDER)
        if isinstance(provider, str):
            known = {BUILT_IN_PROVIDER, *self.installed("dirac.identity")}
            if provider not in known:
                yield path, f"there is no identity provider `{provider}`{suggestion(provider, known)}"
            return
        plugin, plugins = provider.get("type", "oidc"), self.installed("dirac.identity_provider")
        if plugin not in plugins:
            yield (
                (*path, "type"),
                f"there is no identity provider plugin `{plugin}`{suggestion(plugin, plugins)}",
            )
        for name in ("issuer", "scim_url"):
            url = provider.get(name)
            if isinstance(url, str) and url.startswith("http:") and in_the_clear(url):
                yield (*path, name), "secrets would travel there in the clear; use https"
        yield from self._client_secret(provider, path)
        if "groups" in vo:
            mapped = _section(provider, "groups")
            for value in mapped:
                yield from _listed(mapped, (*path, "groups"), value, groups, "group")

    def _client_secret(self, provider: Mapping[str, Any], path: Path) -> Found:
        given = [name for name in _CLIENT_SECRETS if provider.get(name) is not None]
        for name in given[1:]:
            yield (*path, name), f"the client has a `{given[0]}` as well; remove one of them"
        if given:
            kind, value = _CLIENT_SECRETS[given[0]], provider[given[0]]
            reference = value if kind is None else {kind: value}
            if isinstance(reference, Mapping):
                yield from reference_faults(reference, (*path, given[0]), self._refused)
        if isinstance(token := provider.get("scim_token"), Mapping):
            yield from reference_faults(token, (*path, "scim_token"), self._refused)
        for name in ("scim_token", "scim_groups"):
            if provider.get(name) and not provider.get("scim_url"):
                yield (*path, name), "there is no `scim_url` that it could be for"

    def _element(self, name: str, element: Mapping[str, Any], path: Path) -> Found:
        settings = _section(element, "settings")
        secrets = list(secrets_in(settings, (*path, "settings"), self._refused))
        yield from secrets
        plugin = element.get("type")
        if plugin is None:
            return
        known = self.installed("dirac.computing")
        if plugin not in known:
            yield (*path, "type"), f"there is no computing plugin `{plugin}`{suggestion(plugin, known)}"
        elif not secrets:
            try:
                stand_in = {place: _STAND_IN for place, _ in references_in(settings)}
                self._check_computing(plugin, name, filled(settings, stand_in))
            except InvalidInputError as error:
                yield (*path, "settings"), str(error)


def _managers(place: Mapping[str, Any], vos: Mapping[str, Any], path: Path) -> Found:
    """Check that those are there who look after a site or a computing element."""
    managers = _section(place, "managers")
    yield from _listed(place, path, "managers", vos, "VO")
    for vo in managers:
        for option, noun in (("users", "user"), ("groups", "group")):
            known = _section(_section(vos, vo), option)
            yield from _listed(_section(managers, vo), (*path, "managers", vo), option, known, noun)


def _certificates(vos: Mapping[str, Any], hosts: Mapping[str, Any]) -> Found:
    """Check that a certificate is one user's of a VO, or one host's."""
    seen: dict[tuple[str, str], str] = {}
    for name in hosts:
        dn = _section(hosts, name).get("dn")
        if dn is not None:
            yield from _certificate(seen, "", name, dn, ("hosts", name, "dn"))
    for vo in vos:
        users = _section(_section(vos, vo), "users")
        for name in users:
            for index, dn in enumerate(_section(users, name).get("dns", ())):
                place = ("virtual_organisations", vo, "users", name, "dns", str(index))
                yield from _certificate(seen, vo, name, dn, place)


def _certificate(seen: dict[tuple[str, str], str], vo: str, name: str, dn: str, place: Path) -> Found:
    other = seen.get(("", dn)) or seen.get((vo, dn))
    if other is not None:
        yield place, f"the certificate `{dn}` is that of `{other}` as well"
    seen.setdefault((vo, dn), name)


def _free(section: Mapping[str, Any], path: Path) -> Found:
    """Look for secrets among options that nobody here knows."""
    for option in ("operations", "extensions"):
        yield from secrets_in(_section(section, option), (*path, option))


def _section(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = parent.get(name)
    return section if isinstance(section, Mapping) else {}


def _capability_tokens(vo: Mapping[str, Any], groups: Mapping[str, Any], path: Path) -> Found:
    tokens = _section(vo, "capability_tokens")
    for group in _section(tokens, "groups"):
        if "groups" in vo and group not in groups:
            yield (*path, "groups", group), f"there is no group `{group}`{suggestion(group, groups)}"
    outside = isinstance(vo.get("identity_provider"), Mapping)
    if tokens.get("issued_by") == IssuedBy.PROVIDER and not outside:
        yield (
            (*path, "issued_by"),
            "the VO has no outside identity provider; give it one, or have the installation issue them",
        )


def _listed(parent: Mapping[str, Any], path: Path, option: str, known: Mapping[str, Any], noun: str) -> Found:
    seen: set[str] = set()
    names = parent.get(option, ())
    for index, name in enumerate(names):
        place = (*path, option, name if isinstance(names, Mapping) else str(index))
        if name not in known:
            yield place, f"there is no {noun} `{name}`{suggestion(name, known)}"
        elif name in seen:
            yield place, f"the {noun} `{name}` is here twice"
        seen.add(name)


def _shadow(shadow: Mapping[str, Any], vos: Mapping[str, Any], sites: Mapping[str, Any]) -> Found:
    """Check that what a candidate changes is there."""
    path = ("workload", "shadow")
    shares, banned = _section(shadow, "shares"), _section(shadow, "banned_sites")
    for option, known, noun in (
        ("shares", vos, "VO"),
        ("banned_sites", vos, "VO"),
        ("limits", sites, "site"),
    ):
        yield from _listed(shadow, path, option, known, noun)
    for name in shares:
        for option, noun in (("groups", "group"), ("users", "user")):
            known = _section(_section(vos, name), option)
            yield from _listed(_section(shares, name), (*path, "shares", name), option, known, noun)
    for name in banned:
        yield from _listed(banned, (*path, "banned_sites"), name, sites, "site")


def secrets_in(value: Any, path: Path, refused: Refused | None = None) -> Found:
    """Yield the places of values that look like secrets, and why they may not be there.

    Args:
        value: Options that nobody here knows.
        path: Where they are.
        refused: Where a reference is what is meant: says why one may not be followed.
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not names_a_secret(name):
                yield from secrets_in(item, (*path, name), refused)
            elif refused is None:
                yield (*path, name), f"`{name}` looks like a secret; {_ADVICE}"
            elif not isinstance(item, Mapping):
                yield (*path, name), f"`{name}` is a secret, which never stands here; {ADVICE}"
            else:
                yield from reference_faults(item, (*path, name), refused)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from secrets_in(item, (*path, str(index)), refused)
    elif isinstance(value, str) and (found := secret_text(value)) is not None:
        yield path, f"{found}; {_ADVICE}"


def reference_faults(given: Mapping[str, Any], path: Path, refused: Refused) -> Found:
    """Yield why a section is no reference to a secret, or may not be followed."""
    fault = reference_fault(given) or refused(msgspec.convert(given, SecretReference))
    if fault is not None:
        yield path, fault
