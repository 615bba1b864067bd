"""Every role has the same anatomy, and says of its variables what is true."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
TYPES = {"str": str, "path": str, "int": int, "bool": bool, "dict": dict, "list": list}
VERBS = {
    "Apply", "Ask", "Configure", "Copy", "Install", "Look", "Make", "Put", "Remove", "Require", "Say",
    "Service", "Stop", "Validate", "Verify", "Write",
}  # fmt: skip
SECRET = re.compile(r"password|secret|token|key(?!s?_|s$)", re.IGNORECASE)

role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def _spec(role: Path) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = _load(role / "meta/argument_specs.yml")["argument_specs"]["main"][
        "options"
    ]
    return options


def _tasks(role: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((role / "tasks").glob("*.yml")):
        for task in _load(path):
            yield path.name, task


def _sources(role: Path) -> Iterator[Path]:
    for folder in ("tasks", "templates", "handlers", "vars"):
        yield from sorted((role / folder).glob("*"))


def _modules(role: Path) -> set[str]:
    return {path.stem for path in (role / "library").glob("*.py")}


def _variables(role: Path) -> set[str]:
    names = "|".join(each.name for each in ROLES)
    found: set[str] = set()
    for path in _sources(role):
        found |= set(re.findall(rf"(?<![\w.])(?:{names})_\w+", path.read_text("utf-8")))
    return found - _modules(role)


def _readmes() -> Any:
    spec = importlib.util.spec_from_file_location("role_readmes", ROOT / "docs/developer/role_readmes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_roles() -> None:
    assert len(ROLES) >= 4


@role
def test_defaults_and_argument_specs_say_the_same(role: Path) -> None:
    defaults = _load(role / "defaults/main.yml")
    assert defaults == {name: option["default"] for name, option in _spec(role).items()}


@role
def test_argument_spec_is_checked_before_anything_changes(role: Path) -> None:
    specs = _load(role / "meta/argument_specs.yml")["argument_specs"]
    assert specs["validate"] == specs["main"]
    assert (role / "tasks/validate.yml").exists()
    first = _load(role / "tasks/main.yml")[0]
    assert first == {"name": "Validate", "ansible.builtin.import_tasks": "validate.yml"}


@role
def test_validation_changes_nothing(role: Path) -> None:
    for task in _load(role / "tasks/validate.yml"):
        assert "ansible.builtin.assert" in task


@role
def test_defaults_have_the_type_they_declare(role: Path) -> None:
    for name, option in _spec(role).items():
        assert option["description"].strip().endswith("."), name
        default = option["default"]
        if isinstance(default, str) and "{{" in default:
            continue
        assert type(default) is TYPES[option["type"]], name
        assert "choices" not in option or default in option["choices"], name


@role
def test_variables_in_use_are_declared_and_declared_ones_in_use(role: Path) -> None:
    assert _variables(role) == set(_spec(role))


@role
def test_private_variables_are_set_where_they_are_used(role: Path) -> None:
    text = "\n".join(path.read_text("utf-8") for path in _sources(role))
    used = set(re.findall(r"(?<!\w)__\w+", text))
    given = set(re.findall(r"register: (__\w+)", text)) | set(re.findall(r"^\s+(__\w+):", text, re.MULTILINE))
    assert used == given
    assert all(name.startswith(f"__{role.name}_") for name in used)


@role
def test_task_names_are_unique_in_a_file_and_begin_with_a_verb(role: Path) -> None:
    seen: set[tuple[str, str]] = set()
    for file, task in _tasks(role):
        name = task["name"]
        assert name.split()[0] in VERBS, name
        assert (file, name) not in seen, name
        seen.add((file, name))


@role
def test_commands_say_whether_they_change_anything(role: Path) -> None:
    for _, task in _tasks(role):
        if "ansible.builtin.command" in task:
            assert "changed_when" in task, task["name"]
        assert "ansible.builtin.shell" not in task, task["name"]
        assert "ignore_errors" not in task, task["name"]


@role
def test_no_secret_passes_through_ansible_unless_it_is_hidden(role: Path) -> None:
    secret = {
        name
        for name in _spec(role)
        if SECRET.search(name) and not name.endswith(("_file", "_dir", "_tls_key", "_repository_key"))
    }
    assert {name for name in secret if not _spec(role)[name].get("no_log")} == set()
    for _, task in _tasks(role):
        if any(name in str(task) for name in secret) or re.search(r"lookup\([^)]*password", str(task)):
            assert task.get("no_log") is True, task["name"]


@role
def test_written_files_have_a_mode_and_are_validated(role: Path) -> None:
    for _, task in _tasks(role):
        for kind in ("template", "copy"):
            given = task.get(f"ansible.builtin.{kind}")
            if given is None:
                continue
            assert "mode" in given, task["name"]
            assert kind == "copy" or "validate" in given, task["name"]


@role
def test_readme_is_made_from_the_argument_specs(role: Path) -> None:
    assert (role / "README.md").read_text("utf-8") == _readmes().page(role), (
        "python docs/developer/role_readmes.py"
    )


@role
def test_what_a_role_puts_in_place_can_be_removed(role: Path) -> None:
    writes = any("state" in str(task) or "dirac_environment" in task for _, task in _tasks(role))
    assert (role / "tasks/remove.yml").exists() == writes


@pytest.mark.parametrize("inventory", sorted((ROOT / "inventories").iterdir()), ids=lambda path: path.name)
def test_inventory_sets_only_variables_that_exist(inventory: Path) -> None:
    declared = {name for each in ROLES for name in _spec(each)}
    for path in inventory.rglob("group_vars/**/*.yml"):
        assert {name for name in _load(path) if not name.startswith("site_")} <= declared
    hosts = _load(inventory / "hosts.yml")["all"]["children"]
    assert set(hosts) == {each.name for each in ROLES}, "groups are named after roles"


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.name)
def test_playbook_says_what_it_is_for(playbook: Path) -> None:
    assert playbook.read_text("utf-8").startswith("---\n# ")
    for play in _load(playbook):
        assert play["name"]
