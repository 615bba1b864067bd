# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of all database servers have in common."""

from __future__ import annotations

from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class RefusedError(Exception):
    """A server or a program refused, or a backup cannot be used; the text says why."""


class Verification(Protocol):
    """Asks a server whether it is sound, and collects all that is wrong."""

    problems: list[str]

    def check_server(self) -> None:
        """Ask for what holds for everybody.

        Raises:
            RefusedError: The server does not answer.
        """

    def check_user(self, user: dict[str, object], password: str) -> None:
        """Log in as a user, and try what it must not be able to do."""


def verify(module: AnsibleModule, verification: Verification) -> None:
    """Check a server, and its users that have a password; ends the module, with all problems at once."""
    passwords = module.params["passwords"]
    tried = [
        user
        for user in module.params["users"]
        if user.get("state") != "absent" and passwords.get(user["name"])
    ]
    try:
        verification.check_server()
        for user in tried:
            verification.check_user(user, passwords[user["name"]])
    except (RefusedError, OSError) as error:
        verification.problems.append(f"the server does not answer: {error}")
    if verification.problems:
        module.fail_json(msg="; ".join(verification.problems))
    module.exit_json(changed=False, users=[user["name"] for user in tried])
