"""`bin/dirac`: from a clone to the files of a site, as README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 600


class Newcomer:
    """Somebody with a fresh clone and a home with nothing in it."""

    def __init__(self, place: Path) -> None:
        self.home = place / "home"
        self.home.mkdir()
        self.checkout = place / "dirac"
        programs = place / "bin"
        programs.mkdir()
        (programs / "python3").symlink_to(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
        subprocess.run(["git", "clone", "--quiet", ROOT, self.checkout], check=True)
        # How this machine reaches its package index is the machine's own affair.
        network = re.compile(r"(?i)^(https?|no|all)_proxy$|^(PIP|UV)_|^SSL_")
        self.environment = {
            **{name: text for name, text in os.environ.items() if network.match(name)},
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv")),
        }

    def type(self, *words: str, code: int = 0, **variables: str) -> tuple[str, str]:
        """Type `bin/dirac` with some words; return what it says on both outputs."""
        done = subprocess.run(
            ["bin/dirac", *words],
            cwd=self.checkout,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    return Newcomer(tmp_path)


def test_a_clone_comes_to_the_files_of_a_site(newcomer: Newcomer) -> None:
    words = ("site", "new", "observatory", "--host", "h.example.org", "--vo", "astro", "--offline", "--yes")
    out, err = newcomer.type(*words)
    assert "Installing Ansible into .tools/" in err
    assert "bin/dirac site deploy observatory" in out
    assert (newcomer.home / ".config/dirac/sites/observatory.key").is_file()
    secrets = newcomer.checkout / "inventories/observatory/group_vars/all/secrets.yml"
    assert secrets.read_bytes().startswith(b"$ANSIBLE_VAULT;")
    # It is the operator's own: nothing of it shows up among the changes of the checkout.
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=newcomer.checkout, capture_output=True, text=True, check=True
    )
    assert changed.stdout == ""
    out, err = newcomer.type("site", "secrets", "observatory")
    assert "vault_master_key" in out
    assert err == ""


def test_without_a_package_index_it_says_so_and_leaves_no_half_environment(newcomer: Newcomer) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_NO_CACHE_DIR": "1", "PIP_RETRIES": "0"}
    said = newcomer.type("--version", code=1, **nowhere)[1]
    assert "error: the packages could not be installed" in said
    assert not (newcomer.checkout / ".tools/environment").exists()
