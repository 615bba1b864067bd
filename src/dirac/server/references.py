"""What references of the configuration may lead to: the configuration comes over the network.

Whoever may change an identity provider's section can have the secret that it names sent to an address of
theirs. So the server's own secrets are never followed from there, whatever they are called and by whatever
link, nor what is no file of somebody's; and a site may say in its settings what alone is.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path

from dirac.core.secrets import SecretReference
from dirac.server.secret_settings import own_references
from dirac.server.settings import Settings

_FILES = frozenset({"file", "age", "sops"})
_OF_THE_SYSTEM = ("/proc", "/sys", "/dev")


class Limits:
    """Says why a reference of the configuration may not be followed.

    Args:
        settings: Those of this server.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        own = own_references(settings)
        self._files = {
            name: settings.path(each.place) for name, each in own.items() if each.kind in _FILES
        } | {"the database": settings.path("dirac.db")}
        # Uploads and clones: SOPS asks whom a document names, with the server's own credentials.
        stores = ("sandboxes", "git", settings.pilots.directory)
        self._others_files = [os.path.realpath(settings.path(each)) for each in stores]
        self._others = {
            (each.kind, each.place): name for name, each in own.items() if each.kind not in _FILES
        }

    def __call__(self, reference: SecretReference) -> str | None:
        """Return why not, None if it may."""
        name = self._others.get((reference.kind, reference.place))
        place = reference.place
        if reference.kind in _FILES:
            path = self._settings.path(place)
            place = os.path.realpath(path)
            if any(Path(place).is_relative_to(each) for each in _OF_THE_SYSTEM):
                return f"{reference}: this is the machine's, no file of a secret"
            if any(Path(place).is_relative_to(each) for each in self._others_files):
                return f"{reference}: what is there comes from others, and is no secret of an operator"
            name = next((name for name, own in self._files.items() if _same(path, own)), None)
        if name is not None:
            return f"{reference}: this is a secret of the server's own, by {name}; give each secret its place"
        patterns = self._settings.secrets.from_configuration
        if not any(fnmatchcase(f"{reference.kind}:{place}", pattern) for pattern in patterns):
            return (
                f"{reference}: the settings of this server do not let the configuration refer to it; "
                f"`secrets.from_configuration` is: {', '.join(patterns) or 'nothing'}"
            )
        return None


def _same(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to the same file, by whatever link; also if it is not there yet."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
