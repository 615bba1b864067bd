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

One YAML file, or a directory with such files, says what the installation is made of: its communities, its
sites, its rules. Which file says what is your choice: one for each VO and each site is a good one.

    dirac config pull conf                   # the current files, into a directory
    dirac config plan conf                   # what would change, and what that does to jobs and people
    dirac config apply conf                  # check everything, then make it the new version
    dirac config explain pilot/max_jobs      # what an option is, where that comes from, what it overrides
    dirac config blame sites/LCG.CERN.ch     # who changed it, when and why
    dirac config log                         # all versions; `diff` compares two
    dirac config show --at 2d                # what was in force two days ago
    dirac config rollback 3                  # the files of version 3 as a new version

Every fault is reported at once, with file, line and column; a file with a fault changes nothing. A fault that
was there before, for instance because a plugin has gone, is a warning where nothing else of it changes.
Servers take a new version over within a second, without a restart. If a server cannot read the newest
version, because another release made it, it goes on with the last one that it can read and says so: in its
log, in `dirac_configuration_outdated` and in `dirac site doctor`. `dirac config rollback` brings it back.

## Several administrators

`pull` writes down which version the files are from, and `apply` sends only those that differ. What others
have changed since is kept, with remarks and all; where both changed the same option, nothing is applied and
both values are told. One file that is applied without `--base N` is all of the configuration: what others
changed since it was written is undone, which the plan shows. A version is made when something has another
meaning: other remarks alone make none.

A site that is deployed with its inventory (role `dirac_config`) has its configuration there: each deployment
makes it one text, and undoes what was applied otherwise.

**Administrators of a VO** have a group with the property `VOAdministrator`. They pull and apply the files
that are about their VO alone, and change what `delegation` allows: by default users and support. They
cannot give anybody a group with properties beyond `delegation/properties`, nor change such a group,
whatever file it is in. So a VO that looks after itself needs files of its own.

## From DIRAC and DiracX, and back

    dirac config import dirac.cfg --to conf  # .yml: DiracX's
    dirac config export --format cfg

What was not understood is reported, and what has no place of its own is kept under `extensions/dirac`; an
export has it again. Secrets are left out. Computing elements of a type that no plugin here has are kept, too,
until there is one and you import again. `maxCPUTime` with `SI00` becomes normalised seconds.

**Secrets never belong in the configuration**: whoever reads it, its history or its backups would have them.
Write where a secret is, not what it is: a [reference](secrets.md), as in `client_secret: {file: FILE}`.
Settings of computing elements that are called like a secret (`password`, `token`, `private_key`, ...) are
references as well; anything else there is refused, and so is what looks like a secret in any other place.

Numbers are decimal. Text that looks like a number, a date or `yes`/`no` must be quoted. Anchors and aliases
(`&name`, `*name`) may save repetition; merging with `<<` is not accepted.

In the paths below, `<vo>` and the like stand for names that you choose.
"""


def reference() -> str:
    """Return the reference as Markdown: a table per section, with path, type, default and meaning."""
    return f"{_HEAD}\n{tables(Tree)}"


if __name__ == "__main__":
    sys.stdout.write(reference())
