"""Every role has the same anatomy, and says of its variables what is true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.loading import ROOT, load

ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
# Those that a host can be given; the others are parts of them.
GROUPS = [role for role in ROLES if (role / "tasks/main.yml").exists()]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
INVENTORIES = [path for path in sorted((ROOT / "inventories").iterdir()) if (path / "hosts.yml").exists()]
TYPES = {"str": str, "path": str, "int": int, "bool": bool, "dict": dict, "list": list}
VERBS = {
    "Apply", "Ask", "Back", "Bring", "Choose", "Configure", "Copy", "Empty", "Expand", "Fetch", "Finish",
    "Have", "Install", "Issue", "Let", "Log", "Look", "Make", "Migrate", "Mount", "Name", "Note", "Put",
    "Read", "Remove", "Report", "Require", "Restore", "Run", "Say", "Service", "Start", "Stop", "Tell",
    "Use", "Validate", "Verify", "Wait", "Write",
}  # fmt: skip
SECRET = re.compile(
    r"password|secret|token|cookie|key(?!s?_|s$)|(database|migration|broker)_url|_s3$", re.IGNORECASE
)
# Where a secret is, not the secret itself.
NO_SECRET = re.compile(r"_(file|dir|tls_key|repository_key|key_type)$")
# Handed to the tasks `backup` and `restore` of a role by the role backup.
HANDED = "backup_staging"

group = pytest.mark.parametrize("role", GROUPS, ids=lambda role: role.name)
role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def _spec(role: Path) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = _load(role / "meta/argument_specs.yml")["argument_specs"]["main"][
        "options"
    ]
    return options


def _declared(role: Path) -> set[str]:
    """Variables of all tasks files that take any."""
    entries = _load(role / "meta/argument_specs.yml")["argument_specs"].values()
    return {name for entry in entries for name in entry["options"]}


def _tasks(role: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((role / "tasks").glob("*.yml")):
        for task in _load(path):
            yield path.name, task


def _sources(role: Path) -> Iterator[Path]:
    for folder in ("tasks", "templates", "handlers", "vars"):
        yield from sorted((role / folder).glob("*"))


def _modules(role: Path) -> set[str]:
    """Modules and actions that a role can use: its own, and those that roles share."""
    places = (role / "library", ROOT / "playbooks/library", ROOT / "playbooks/action_plugins")
    return {path.stem for place in places for path in place.glob("*.py")}


def _variables(role: Path) -> set[str]:
    names = "|".join(each.name for each in ROLES)
    found: set[str] = set()
    for path in _sources(role):
        # Words like mariadb_x, but neither values in quotes nor parts of names of files.
        found |= set(re.findall(rf"(?<![\w./'-])(?:{names})_\w+(?![\w.]*[-/])", path.read_text("utf-8")))
    return found - _modules(role) - {HANDED} | (found & {HANDED} if role.name == "backup" else set())


def _used(role: Path) -> list[Path]:
    """Roles that this one is made of."""
    used = {
        task.get(f"ansible.builtin.{how}_role", {}).get("name")
        for _, task in _tasks(role)
        for how in ("import", "include")
    }
    return [each for each in ROLES if each not in GROUPS and each.name in used]


def _parts(role: Path) -> set[str]:
    """Variables of the roles that this one is made of."""
    return {name for each in _used(role) for name in _spec(each)}


def _given(role: Path) -> set[str]:
    """Private variables that a role sets."""
    text = "\n".join(path.read_text("utf-8") for path in _sources(role))
    found = set(re.findall(r"(?:register|loop_var|index_var): (__\w+)", text))
    return found | set(re.findall(r"^\s+(__\w+):", text, re.MULTILINE))


def test_there_are_roles() -> None:
    assert len(GROUPS) >= 20


@role
def test_defaults_and_argument_specs_say_the_same(role: Path) -> None:
    file = role / "defaults/main.yml"
    defaults = _load(file) if file.exists() else {}
    assert defaults == {name: option["default"] for name, option in _spec(role).items()}


@group
def test_argument_spec_is_checked_before_anything_changes(role: Path) -> None:
    specs = _load(role / "meta/argument_specs.yml")["argument_specs"]
    assert specs["validate"] == specs["main"]
    assert (role / "tasks/validate.yml").exists()
    first = _load(role / "tasks/main.yml")[0]
    assert first == {"name": "Validate", "ansible.builtin.import_tasks": "validate.yml"}


@role
def test_validation_changes_nothing(role: Path) -> None:
    for task in _load(role / "tasks/validate.yml"):
        part = task.get("ansible.builtin.import_role", {})
        assert "ansible.builtin.assert" in task or part.get("tasks_from") == "validate", task["name"]


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
    assert _variables(role) - _parts(role) == _declared(role)


@role
def test_private_variables_are_set_where_they_are_used(role: Path) -> None:
    text = "\n".join(path.read_text("utf-8") for path in _sources(role))
    used = set(re.findall(r"(?<!\w)__(?!file__)\w+", text))  # not __file__, which is Python's
    given = _given(role)
    used -= {name for part in _used(role) for name in _given(part)}
    assert used == given
    assert all(name.startswith(f"__{role.name}_") for name in given)


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


def _passed_on(task: dict[str, Any]) -> str:
    """What a task hands over of variables, and not what it only compares with nothing."""
    conditions = {"when", "failed_when", "changed_when", "until"}
    text = str({key: value for key, value in task.items() if key not in conditions})
    return re.sub(r"\w+ (== ''|!= ''|\| length)|\w+ is defined", "", text)


@role
def test_no_secret_passes_through_ansible_unless_it_is_hidden(role: Path) -> None:
    secret = {name for name in _spec(role) if SECRET.search(name) and not NO_SECRET.search(name)}
    assert {name for name in secret if not _spec(role)[name].get("no_log")} == set()
    for _, task in _tasks(role):
        if "ansible.builtin.assert" in task:  # shows its message, which names variables
            assert not re.search(rf"~ *({'|'.join(secret) or '$'})\b", str(task)), task["name"]
        elif any(name in _passed_on(task) for name in secret) or re.search(
            r"lookup\([^)]*password", str(task)
        ):
            hides = "host_files" in task and "'hidden'" in str(task)  # the module hides what is marked so
            assert task.get("no_log") is True or hides, task["name"]


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
    assert (role / "README.md").read_text("utf-8") == load("docs/developer/role_readmes.py").page(role), (
        "python docs/developer/role_readmes.py"
    )


@role
def test_what_a_role_puts_in_place_can_be_removed(role: Path) -> None:
    # The configuration and accounts go with the servers' state.
    assert (role / "tasks/remove.yml").exists() == (role.name not in {"dirac_config", "dirac_vo"})


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.name)
def test_inventory_sets_only_variables_that_exist(inventory: Path) -> None:
    declared = {name for each in ROLES for name in _declared(each)}
    for path in inventory.rglob("group_vars/**/*.yml"):
        text = path.read_text("utf-8")
        if not text.startswith("$ANSIBLE_VAULT"):
            own = {name for name in yaml.safe_load(text) if name.startswith(("site_", "_site_"))}
            assert set(yaml.safe_load(text)) - own <= declared, path.name
    hosts = set(_load(inventory / "hosts.yml")["all"]["children"])
    groups = {each.name for each in GROUPS}
    assert hosts == groups if inventory.name == "common" else hosts <= groups, "groups are named after roles"


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.name)
def test_playbook_says_what_it_is_for(playbook: Path) -> None:
    assert playbook.read_text("utf-8").startswith("---\n# ")
    for play in _load(playbook):
        assert play["name"]
