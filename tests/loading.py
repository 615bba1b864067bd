"""Programs of this tree that belong to no package, as modules: of Ansible, the documentation, DIRACOS."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import ansible.module_utils

ROOT = Path(__file__).parents[1]

# Where Ansible finds what modules share.
if str(ROOT / "playbooks/module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(ROOT / "playbooks/module_utils"))


def load(path: str) -> Any:
    """Return a program as a module, a new one at each call.

    Args:
        path: Its file, from the root of this tree.
    """
    file = ROOT / path
    name = f"loaded_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there for their module
    spec.loader.exec_module(module)
    return module
