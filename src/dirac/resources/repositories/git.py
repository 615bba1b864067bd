"""A branch of a git repository, by the command `git`: commits are read, made, and sent.

There is a copy of the repository on this machine, without files beside it, that can be thrown away at any
time. Credentials go by environment and by files of their own, never on a command line; what git says of an
address is not repeated, since nobody knows what is in it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from dirac.core.addresses import in_the_clear
from dirac.core.errors import ConflictError, InvalidInputError, UnavailableError
from dirac.core.secrets import Secret

_SECONDS = 120.0
_PIPE, _DEVNULL = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
_TOLD = 300
_REJECTED = re.compile(r"non-fast-forward|fetch first|\[rejected\]|\[remote rejected\]")
_IN_ADDRESS = re.compile(r"([a-z+]+://)[^/\s@']*@", re.IGNORECASE)
_NAME = "DIRAC"
_SSH = {
    "BatchMode": "yes",
    "ConnectTimeout": "30",
    "LogLevel": "ERROR",
    "StrictHostKeyChecking": "yes",
    "UpdateHostKeys": "no",
}
_HINTS = {
    "Host key verification failed": "Put the host's key, compared with what its owners say, into known_hosts",
    "HOST IDENTIFICATION HAS CHANGED": "Ask the host's owners for its new key, and put it into known_hosts",
    "Permission denied": "Is the public half of ssh_key, a key without a passphrase, known there?",
    "cannot run ssh": "Install ssh on the servers and workers",
}
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "NO_PROXY")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A directory of a branch, and who we are there.

    Attributes:
        url: Address of the repository; without a password.
        branch: Name of the branch.
        directory: Below which the files are; empty for the whole.
        user: Name to show with the password.
        password: Password or access token, for https.
        ssh_key: Private key, for ssh.
        known_hosts: File with the keys of hosts, for ssh; the machine's if not given.
        ca_file: Authorities of the certificate, for https; the machine's if not given.
    """

    url: str
    branch: str = "main"
    directory: str = ""
    user: str = "git"
    password: Secret | None = None
    ssh_key: Secret | None = None
    known_hosts: Path | None = None
    ca_file: Path | None = None

    @property
    def name(self) -> str:
        """What it is called, for people and to know it again."""
        return f"{self.url} {self.branch}" + (f" {self.directory}" if self.directory else "")


class Commit(msgspec.Struct, frozen=True):
    """One commit.

    Attributes:
        id: Its name.
        author: ``Name <mail>``.
        message: What it says.
    """

    id: str
    author: str
    message: str


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A commit to be made; equal ones have equal names.

    Attributes:
        parents: The commits that it follows, the first one with the files that it keeps.
        changed: Texts of files by name.
        removed: Names of files that are no more.
        author: ``Name <mail>``, or only a name.
        time: When.
        message: What it says.
    """

    parents: Sequence[str]
    changed: Mapping[str, str]
    removed: Sequence[str]
    author: str
    time: datetime
    message: str


class GitBranch:
    """One branch of one repository.

    Args:
        place: Where it is.
        state: Directory for copies of repositories.
    """

    def __init__(self, place: Place, state: Path) -> None:
        self.place = place
        key = hashlib.sha256(place.url.encode()).hexdigest()[:16]
        self._copy = state / f"{key}.git"
        self._ours = f"refs/dirac/{hashlib.sha256(place.name.encode()).hexdigest()[:16]}"

    async def fetch(self) -> str | None:
        """Bring what is new, and return the branch's newest commit; None if there is no such branch.

        Raises:
            UnavailableError: The repository cannot be reached, or does not know us.
        """
        if not (self._copy / "HEAD").exists():
            shutil.rmtree(self._copy, ignore_errors=True)
            self._copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            await self._git("init", "--quiet", "--bare", str(self._copy), here=False)
        listed = await self._git(
            "ls-remote", "--", self.place.url, f"refs/heads/{self.place.branch}", far=True
        )
        if not listed.strip():
            return None
        wanted = f"+refs/heads/{self.place.branch}:{self._ours}/far"
        await self._git("fetch", "--quiet", "--no-tags", "--", self.place.url, wanted, far=True)
        return (await self._git("rev-parse", "--verify", f"{self._ours}/far^{{commit}}")).decode().strip()

    async def has(self, commit: str) -> bool:
        """Tell whether a commit is in the copy."""
        return await self._tells("cat-file", "-e", f"{commit}^{{commit}}")

    async def follows(self, commit: str, earlier: str) -> bool:
        """Tell whether a commit is another one, or comes after it."""
        return await self._tells("merge-base", "--is-ancestor", earlier, commit)

    async def commits(self, after: str | None, upto: str) -> list[Commit]:
        """Return the commits of the branch after another one, oldest first; of merges, the merge only."""
        span = upto if after is None else f"{after}..{upto}"
        form = "--format=%H%x00%an <%ae>%x00%B%x00%x00"
        found = (
            await self._git("log", "--first-parent", "--reverse", form, "--end-of-options", span)
        ).decode(errors="replace")
        commits = []
        for each in found.split("\x00\x00"):
            if each.strip():
                name, author, message = each.strip("\n").split("\x00", 2)
                commits.append(Commit(name, author, message.strip()))
        return commits

    async def texts(self, commit: str) -> dict[str, str]:
        """Return the YAML files below the directory, by their names from there.

        Raises:
            InvalidInputError: One is no text in UTF-8.
        """
        listed = await self._git("ls-tree", "-r", "-z", "--full-tree", commit)
        start = f"{self.place.directory}/" if self.place.directory else ""
        blobs: dict[str, str] = {}
        for entry in listed.decode(errors="replace").split("\x00"):
            about, _, path = entry.partition("\t")
            name = path.removeprefix(start)
            if not path.startswith(start) or not name.endswith((".yml", ".yaml")):
                continue
            if about.startswith("100") and not any(part.startswith(".") for part in name.split("/")):
                blobs[name] = about.split()[2]
        content = await self._git(
            "cat-file", "--batch", given="".join(f"{blob}\n" for blob in blobs.values())
        )
        found, at = {}, 0
        for name in blobs:
            end = content.index(b"\n", at)
            size = int(content[at:end].split()[2])
            try:
                found[name] = content[end + 1 : end + 1 + size].decode()
            except UnicodeDecodeError:
                raise InvalidInputError("this is no text in UTF-8", where=name) from None
            at = end + size + 2
        return found

    async def make(self, draft: Draft) -> str:
        """Make a commit in the copy, and return its name: the same for the same draft."""
        ref = f"{self._ours}/made"
        date = f"{int(draft.time.astimezone(UTC).timestamp())} +0000"
        start = f"{self.place.directory}/" if self.place.directory else ""
        lines = [
            f"reset {ref}\n",
            f"commit {ref}\nmark :1\n",
            f"author {_person(draft.author)} {date}\n",
            f"committer {_person(_NAME)} {date}\n",
            _data(draft.message),
        ]
        lines += [f"{'merge' if number else 'from'} {name}\n" for number, name in enumerate(draft.parents)]
        lines += [f"D {_quoted(start + name)}\n" for name in sorted(draft.removed)]
        for name, text in sorted(draft.changed.items()):
            lines.append(f"M 100644 inline {_quoted(start + name)}\n{_data(text)}")
        lines.append("get-mark :1\ndone\n")
        said = await self._git("fast-import", "--quiet", "--force", "--done", given="".join(lines))
        return said.decode().strip()

    async def send(self, commit: str) -> None:
        """Make a commit the branch's newest one; whatever is there already has to be behind it.

        Raises:
            ConflictError: The branch has commits that this one does not follow.
            UnavailableError: The repository cannot be reached, or does not let us.
        """
        wanted = f"{commit}:refs/heads/{self.place.branch}"
        await self._git("push", "--quiet", "--", self.place.url, wanted, far=True)

    async def _tells(self, *words: str) -> bool:
        try:
            await self._git(*words)
        except UnavailableError:
            return False
        return True

    async def _git(
        self, *words: str, given: str | None = None, far: bool = False, here: bool = True
    ) -> bytes:
        async with AsyncExitStack() as stack:
            environment = await self._environment(stack, far=far)
            where = ["--git-dir", str(self._copy)] if here else []
            try:
                running = await asyncio.create_subprocess_exec(
                    "git", *where, *words, env=environment, stdin=_DEVNULL if given is None else _PIPE,
                    stdout=_PIPE, stderr=_PIPE,
                )  # fmt: skip
            except OSError as error:
                raise UnavailableError(
                    f"git cannot be run: {error.strerror}", hint="Install git on the servers and workers"
                ) from None
            try:
                async with asyncio.timeout(_SECONDS):
                    out, said = await running.communicate(None if given is None else given.encode())
            except RuntimeError:  # of uvloop: it has ended before it was given all
                await running.wait()
                out, said = b"", b"it did not read what it was given"
            except TimeoutError:
                raise UnavailableError(f"git {words[0]} did not end within {_SECONDS:.0f} s") from None
            finally:
                if running.returncode is None:
                    running.kill()
                    await running.wait()
        if running.returncode:
            text = _IN_ADDRESS.sub(r"\1", " ".join(said.decode(errors="replace").split()))[:_TOLD]
            if words[0] == "push" and _REJECTED.search(text):
                raise ConflictError(f"{self.place.name} does not take this: {text}")
            hint = next((hint for sign, hint in _HINTS.items() if sign in text), None)
            raise UnavailableError(f"git {words[0]} of {self.place.name} failed: {text}", hint=hint)
        return out

    async def _environment(self, stack: AsyncExitStack, *, far: bool) -> dict[str, str]:
        """Return what git is told besides its command line: nothing of this machine's or this user's."""
        place = self.place
        found = {name: os.environ[name] for name in _KEPT if name in os.environ}
        found |= {
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "file:https:http:ssh",
            "LC_ALL": "C",
        }
        options = {"http.followRedirects": "false", "gc.auto": "0", "core.hooksPath": os.devnull}
        if far and place.password is not None:
            pair = f"{place.user}:{await place.password.get()}"
            header = f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"
            # For this address only: git sends it nowhere else.
            options[f"http.{place.url}.extraHeader"] = header
        if place.ca_file is not None:
            options["http.sslCAInfo"] = str(place.ca_file)
        if far and urlsplit(place.url).scheme == "ssh":
            found["GIT_SSH_COMMAND"] = await self._ssh(stack)
        found["GIT_CONFIG_COUNT"] = str(len(options))
        for number, (name, value) in enumerate(options.items()):
            found |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return found

    async def _ssh(self, stack: AsyncExitStack) -> str:
        """Return the command, which asks nobody anything; a key lies in a file while it runs."""
        options = dict(_SSH)
        if (hosts := self.place.known_hosts) is not None:
            # Those alone: what else the machine believes is not what was pinned.
            options |= {"UserKnownHostsFile": f'"{hosts}"', "GlobalKnownHostsFile": os.devnull}
        words = ["ssh", "-F", os.devnull]
        if (key := self.place.ssh_key) is not None:
            directory = Path(tempfile.mkdtemp(prefix="dirac-git-"))
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            file = directory / "key"
            file.touch(mode=0o600)
            file.write_text("\n".join((await key.get()).splitlines()) + "\n")
            words += ["-i", str(file)]
            options["IdentitiesOnly"] = "yes"
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        return shlex.join(words)


def check_place(place: Place, option: str) -> None:
    """Refuse what would not be safe.

    Raises:
        InvalidInputError: That is so.
    """
    url, parts = place.url, urlsplit(place.url)
    if url.startswith("-") or "::" in url or any(ord(letter) < 33 for letter in url):
        raise InvalidInputError(f"{option}.url: this is no address of a repository")
    if parts.scheme not in ("https", "http", "ssh", "file") and not url.startswith("/"):
        raise InvalidInputError(
            f"{option}.url: expected an address with https://, ssh:// or file://, or a path",
            hint="What is written USER@HOST:PATH elsewhere is ssh://USER@HOST/PATH here",
        )
    if parts.password is not None or (parts.username is not None and parts.scheme in ("http", "https")):
        raise InvalidInputError(
            f"{option}.url: there is a secret in this address", hint=f"Refer to it in {option}.password"
        )
    for name, given, schemes in (
        ("password", place.password, ("http", "https")),
        ("ca_file", place.ca_file, ("https",)),
        ("ssh_key", place.ssh_key, ("ssh",)),
        ("known_hosts", place.known_hosts, ("ssh",)),
    ):
        if given is not None and parts.scheme not in schemes:
            raise InvalidInputError(
                f"{option}.{name}: this is for addresses with {schemes[-1]}://, and {option}.url is another"
            )
    if place.password is not None and in_the_clear(url):
        raise InvalidInputError(f"{option}.url: the password would travel in the clear", hint="Use https")
    for name, value in (("branch", place.branch), ("directory", place.directory)):
        bad = value.startswith(("-", "/", ".")) or ".." in value or value.endswith(("/", ".lock"))
        if bad or not re.fullmatch(r"[A-Za-z0-9_.@+/-]*", value) or (name == "branch" and not value):
            raise InvalidInputError(f"{option}.{name}: {value!r} is not possible")


def _person(author: str) -> str:
    name, _, rest = author.partition(" <")
    mail = rest.rstrip(">")
    return f"{_plain(name) or 'unknown'} <{_plain(mail)}>"


def _plain(text: str) -> str:
    return re.sub(r"[<>\x00-\x1f]", "", text).strip()


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
