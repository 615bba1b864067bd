"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.services.fixtures"]

# How long an example takes is the machine's business.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
