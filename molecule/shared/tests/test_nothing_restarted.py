# SPDX-License-Identifier: GPL-3.0-or-later
"""A second run of a role restarts nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "services.sh"
NOTES = Path(os.environ["DIRAC_MOLECULE_NOTES"])


def test_second_run_restarted_nothing(host: Any) -> None:
    name = host.backend.get_hostname()
    before = (NOTES / f"{name}.services").read_text().splitlines()
    after = host.check_output("sh -c %s", SCRIPT.read_text()).splitlines()
    assert before, "nothing was remembered"
    assert [line for line in before if line not in after] == []
