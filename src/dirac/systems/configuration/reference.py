"""The reference of all options, made from the models.

Run ``python -m dirac.systems.configuration.reference > docs/operator/configuration.md``.
"""

from __future__ import annotations

import sys

from dirac.core.reference import tables
from dirac.systems.configuration.models import Tree

_HEAD = """\
# The configuration

<!-- Made by `python -m dirac.systems.configuration.reference`; a test compares. -->

One YAML file says what the installation is made of: its communities, its sites, its rules.

    dirac config apply --dry-run site.yaml   # what would change
    dirac config apply site.yaml             # check everything, then make it the new version
    dirac config log                         # all versions
    dirac config rollback 3                  # the text of version 3 as a new version

Every fault of a file is reported at once, with file, line and column; a file with a fault changes nothing.
Servers take a new version over within a second, without a restart.

**Secrets never belong in the configuration**: whoever reads it, its history or its backups would have them.
Put a secret into a file that only the server can read, and the file's name into the configuration. Settings
of plugins that are called like a secret (`password`, `secret`, `token`, `private_key`, ...) are refused.

Numbers are decimal. Text that looks like a number, a date or `yes`/`no` must be quoted. Anchors and aliases
(`&name`, `*name`) may save repetition; merging with `<<` is not accepted.

In the paths below, `<vo>` and the like stand for names that you choose.
"""


def reference() -> str:
    """Return the reference as Markdown: a table per section, with path, type, default and meaning."""
    return f"{_HEAD}\n{tables(Tree)}"


if __name__ == "__main__":
    sys.stdout.write(reference())
