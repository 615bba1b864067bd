"""What every identity provider must do; a plugin's tests call `check_conformance`."""

from __future__ import annotations

from dirac.resources.identity.base import IdentityProvider

_LONGEST_KEPT = 255


def check_conformance(provider: IdentityProvider) -> None:
    """Assert that a provider keeps its promises.

    Raises:
        AssertionError: It does not; the message says which one is broken.
    """
    kept = provider.keep("correct horse battery staple")
    assert 0 < len(kept) <= _LONGEST_KEPT, "what is kept fits into its column"  # noqa: S101
    assert "horse" not in kept, "what is kept does not show the secret"  # noqa: S101
    assert provider.keep("correct horse battery staple") != kept, "equal secrets do not show"  # noqa: S101
    assert provider.matches(kept, "correct horse battery staple"), "the right secret"  # noqa: S101
    assert not provider.matches(kept, "Correct horse battery staple"), "another secret"  # noqa: S101
    assert not provider.matches(kept, ""), "no secret"  # noqa: S101
    assert not provider.matches(None, "correct horse battery staple"), "a person without one"  # noqa: S101
    assert not provider.matches("rubbish", "correct horse battery staple"), "a broken entry"  # noqa: S101
    assert not provider.outdated(kept), "what was just made is of today"  # noqa: S101
    assert provider.outdated("rubbish"), "a broken entry is to be replaced"  # noqa: S101
