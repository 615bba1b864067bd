"""The interface of identity providers that check what a person types into our own form."""

from __future__ import annotations

from typing import Protocol


class IdentityProvider(Protocol):
    """Checks secrets of people; keeps nothing itself. `keep` and `matches` may take long: they get a thread.

    What `keep` returned is stored by the identity system and handed back to `matches`, also years later and
    by a newer version of the plugin.
    """

    def keep(self, secret: str) -> str:
        """Return what is stored of a secret: at most 255 characters, of no use to a thief."""
        ...

    def matches(self, kept: str | None, secret: str) -> bool:
        """Tell whether this is the secret of which that was kept.

        For None, a person without a secret, the answer is no, and takes as long as any other, so that
        nobody learns from it who has one.
        """
        ...

    def outdated(self, kept: str) -> bool:
        """Tell whether `keep` would make something better of the same secret today.

        Then it is asked to, at the next login, the only moment at which the secret is known.
        """
        ...
