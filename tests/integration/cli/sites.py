"""A small distribution: playbooks that change nothing, on this machine, with everything else real."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[3]

GROUPS = """\
all:
  children:
    mariadb: {hosts: {}}
    dirac_server: {hosts: {}}
"""
ROLE = """\
- name: Look at the previous value
  ansible.builtin.debug:
    msg: "{{ (vault_previous_mariadb_dirac_password | default('')) | length }}"
- name: Use a secret
  ansible.builtin.command:
    cmd: cat
    stdin: "{{ vault_mariadb_dirac_password }}"
  no_log: true
- name: Use a secret and fail
  ansible.builtin.command:
    cmd: sh -c 'cat; cat >&2; exit 3'
    stdin: "{{ vault_mariadb_dirac_password }}"
  no_log: true
  when: fail_with_secret is defined
- name: Try what is provided for
  block:
    - name: Fail where it is provided for
      ansible.builtin.command: "false"
      check_mode: false
      changed_when: false
  rescue:
    - name: Mend it
      ansible.builtin.debug:
        msg: mended
- name: Start the service
  ansible.builtin.fail:
    msg: "the disk of {{ inventory_hostname }} is full"
  when: inventory_hostname in (bad | default(''))
- name: Tell
  ansible.builtin.set_stats:
    data:
      report:
        addresses: [{name: "{{ inventory_hostname }}", url: "mysql://{{ inventory_hostname }}"}]
        facts: {confirm: "{{ confirm | default('') }}", rotate: "{{ site_rotate | default([]) }}"}
"""
PLAY = """\
- name: Run the databases
  hosts: mariadb
  roles: [mariadb]
"""


def make_distribution(place: Path, *verbs: str) -> Path:
    """Make a distribution with some verbs, whose callback and templates are the real ones."""
    (place / "playbooks").mkdir(parents=True)
    (place / "inventories/common").mkdir(parents=True)
    (place / "roles/mariadb/tasks").mkdir(parents=True)
    shutil.copy(ROOT / "ansible.cfg", place)
    shutil.copytree(ROOT / "inventories/templates", place / "inventories/templates")
    for name in ("callback_plugins", "callback_support"):
        shutil.copytree(ROOT / "playbooks" / name, place / "playbooks" / name)
    (place / "inventories/common/groups.yml").write_text(GROUPS)
    (place / "roles/mariadb/tasks/main.yml").write_text(ROLE)
    for name in ("site", *verbs):
        (place / f"playbooks/{name}.yml").write_text(PLAY)
    return place


def use_this_machine(hosts_file: Path) -> None:
    """Let the hosts of an inventory be this machine, whatever their names."""
    text = hosts_file.read_text()
    local = 'ansible_connection: local\n    ansible_python_interpreter: "{{ ansible_playbook_python }}"'
    hosts_file.write_text(text.replace("ansible_user: root", local))
