"""The file of a site's secrets: one file of ansible-vault, never on disk unencrypted.

Ansible's own library encrypts it in this process, so ``ansible-playbook`` and ``ansible-vault`` read it with
the same key file. Beside the secrets it says when each was made (``vault_made``).
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dirac.cli.site.places import Site, make_key_directory
from dirac.core.errors import DiracError, InvalidInputError

MADE = "vault_made"
_KEY_BYTES = 32
_PRIVATE = 0o077


class Vault:
    """The secrets of one site.

    Args:
        path: The encrypted file.
        key_file: The file with its key.
    """

    def __init__(self, path: Path, key_file: Path) -> None:
        self._path = path
        self._key_file = key_file

    def read(self) -> dict[str, Any]:
        """Return all secrets; none if there is no file yet.

        Raises:
            DiracError: There is no key, or it is the wrong one, or the file is damaged.
        """
        from ansible.errors import AnsibleError

        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        if not content.startswith(b"$ANSIBLE_VAULT;"):
            raise InvalidInputError(
                f"{self._path} is not encrypted",
                hint=f"Encrypt it: ansible-vault encrypt --vault-password-file {self._key_file} {self._path}",
            )
        library = _library(self._key())
        try:
            text = library.decrypt(content)
        except AnsibleError as error:
            raise DiracError(
                f"{self._path} cannot be decrypted with {self._key_file}",
                hint="Is it the key of another site, or has somebody else renewed it? Ask who made the site",
            ) from error
        return _parse(text, self._path)

    def write(self, values: Mapping[str, Any]) -> None:
        """Replace all secrets at once: after a failure the file is the old one, or the new one, complete."""
        content = self.encrypt(values)
        replace(self._path, content)

    def encrypt(self, values: Mapping[str, Any]) -> bytes:
        """Return secrets as the content of a file of ansible-vault."""
        import yaml

        class Dumper(yaml.SafeDumper):
            """Writes texts of many lines as they are, for whoever edits the file."""

        def write_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
            return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else '"')

        Dumper.add_representer(str, write_text)
        text = yaml.dump(dict(values), Dumper=Dumper, sort_keys=False, width=10_000)
        encrypted: bytes = _library(self._key()).encrypt(f"---\n{text}".encode())
        return encrypted

    def _key(self) -> bytes:
        try:
            status = self._key_file.stat()
            key = self._key_file.read_bytes().strip()
        except OSError:
            raise DiracError(
                f"the key of the site's secrets is not in {self._key_file}",
                hint="Who made the site has it. Copy it there: install -m 600 KEY " + str(self._key_file),
            ) from None
        if status.st_mode & _PRIVATE:
            raise InvalidInputError(f"others may read {self._key_file}", hint=f"chmod 600 {self._key_file}")
        if not key:
            raise InvalidInputError(f"{self._key_file} is empty")
        return key


def vault_of(site: Site) -> Vault:
    """Return the vault of a site."""
    return Vault(site.secrets_file, site.key_file)


def make_key(site: Site) -> Path:
    """Make the key of a site's secrets, unless there is one.

    Raises:
        DiracError: It cannot be written.
    """
    try:
        make_key_directory()
        descriptor = os.open(site.key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return site.key_file
    except OSError as error:
        raise DiracError(f"{site.key_file} cannot be made: {error.strerror}") from None
    try:
        os.write(descriptor, secrets.token_urlsafe(_KEY_BYTES).encode() + b"\n")
        os.fsync(descriptor)
    except OSError as error:
        # Half a key would be taken for a key.
        site.key_file.unlink(missing_ok=True)
        raise DiracError(f"{site.key_file} cannot be written: {error.strerror}") from None
    finally:
        os.close(descriptor)
    return site.key_file


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file as a whole, so that it survives a loss of power.

    Raises:
        DiracError: It cannot be written; the file is as it was, or already the new one.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix="~")
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        _flush(path.parent)
    except OSError as error:
        raise DiracError(f"{path} cannot be written: {error.strerror or error}") from None


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _library(key: bytes) -> Any:
    try:
        from ansible.parsing.vault import VaultLib, VaultSecret
    except ImportError:
        raise DiracError(
            "Ansible is not installed here", hint="Type bin/dirac in a checkout instead of dirac"
        ) from None
    return VaultLib([("default", VaultSecret(key))])


def _parse(text: Any, path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        # The message of the parser would show a piece of the secrets.
        raise InvalidInputError(f"what {path} holds is no YAML", hint="Edit it: ansible-vault edit") from None
    if not isinstance(found, dict):
        raise InvalidInputError(f"{path} holds no names with values")
    return found
