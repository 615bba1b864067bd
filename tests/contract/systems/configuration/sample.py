"""A configuration of two VOs."""

from __future__ import annotations

TEXT = """\
virtual_organisations:
  astro:
    default_group: user
    groups: {user: {}}
    users: {alice: {groups: [user]}}
  bio:
    default_group: user
    groups: {user: {}}
sites:
  LCG.Both.ch:
    virtual_organisations: [astro, bio]
    computing_elements: {ce: {type: local, settings: {host: here}}}
  LCG.Bio.ch:
    virtual_organisations: [bio]
"""
