# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a copy of this checkout, and of it a version that does not exist, with more migrations."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

MIGRATION = '''\
"""{summary}"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None
phase = "{phase}"


def upgrade() -> None:
    {operation}


def downgrade() -> None:
    raise NotImplementedError
'''


def copy(checkout: Path, target: Path, ref: str = "") -> None:
    """Copy the files of a checkout that are under version control; those of a commit, if one is named."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    if ref:
        subprocess.run(f"git archive {ref} | tar -x -C '{target}'", cwd=checkout, shell=True, check=True)
        return
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=checkout, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, names.split("\0")):
        if (checkout / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / name, target / name)


def add_migrations(tree: Path) -> None:
    """Add a migration that the present version does not notice, and one that it could not live with."""
    folder = tree / "src/dirac/systems/workload/migrations"
    newest = max(path.stem for path in folder.glob("workload_*.py"))
    number = int(newest.rpartition("_")[2])
    names = [f"workload_{number + step:04d}" for step in (1, 2)]
    column = 'sa.Column("probe", sa.String(32))'
    steps = [
        ("expand", "Room for a note", newest, f'op.add_column("workload_node", {column})'),
        ("contract", "No note after all", names[0], 'op.drop_column("workload_node", "probe")'),
    ]
    for name, (phase, summary, before, operation) in zip(names, steps, strict=True):
        text = MIGRATION.format(
            revision=name, before=before, phase=phase, summary=summary, operation=operation
        )
        (folder / f"{name}.py").write_text(text)
