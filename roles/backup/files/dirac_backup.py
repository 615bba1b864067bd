#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the backup sets of a site in a restic repository.

A set is all state of a site at one time. Each host saves the state of its roles as one snapshot per role,
tagged with the site and the set; the set counts only once its manifest is there, which is written last and
names every snapshot with its check sum. All snapshots of a set carry the same time, so that restic's rules
of retention, asked about manifests only, decide about whole sets.

Answers are JSON on standard output. Needs Python 3.9 and restic 0.14; runs as root.
"""

from __future__ import annotations

import argparse
import calendar
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SETTINGS = Path("/etc/dirac-backup/settings.json")
MANIFEST = "manifest.json"
FORMAT = 1
SET_FORMAT = "%Y%m%dT%H%M%SZ"
# What restic says when there is nothing yet; it has no exit code of its own for it before version 0.17.
NOTHING_THERE = ("Is there a repository at the following location?", "unable to open config file")

# What to do about what restic says.
ADVICE = {
    "wrong password or no key found": "vault_backup_password is not the password of this repository",
    "ciphertext verification failed": "the repository is damaged: choose another set, or a copy of it",
}


class FailedError(Exception):
    """It cannot be done; the message says why and what to do."""


class Repository:
    """A restic repository, seen by one site.

    Args:
        settings: Content of the settings file: `site`, `repository`, `options`, `environment`,
            `password_file`, `cache`, `keep`, `incomplete_hours`, `check_subset`, `metrics_file`, `staging`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.site = str(settings["site"])

    def run(self, *words: str, give: str | None = None, directory: Path | None = None) -> str:
        """Run restic and return what it printed.

        Raises:
            FailedError: It failed.
        """
        command = ["restic", "--repo", self.settings["repository"], "--cache-dir", self.settings["cache"]]
        for option in self.settings["options"]:
            command += ["--option", option]
        environment = {**os.environ, **self.settings["environment"], "TZ": "UTC"}
        environment["RESTIC_PASSWORD_FILE"] = self.settings["password_file"]
        environment["RCLONE_CONFIG"] = os.devnull
        try:
            done = subprocess.run(
                [*command, *words],
                input=give if give is not None else "",
                cwd=directory,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise FailedError(f"restic cannot be started: {error}") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-2000:]
            advice = "".join(f"\n{advice}" for found, advice in ADVICE.items() if found in said)
            raise FailedError(f"restic {words[0]}: {said}{advice}")
        return done.stdout

    def init(self) -> bool:
        """Make the repository unless it is there; returns whether it was made."""
        try:
            self.run("cat", "config")
        except FailedError as trouble:
            if not any(text in str(trouble) for text in NOTHING_THERE):
                raise
            self.run("init")
            return True
        return False

    def snapshots(self, *tags: str) -> list[dict[str, Any]]:
        """Return the snapshots of the site that have all of some tags."""
        wanted = ",".join([f"site={self.site}", *tags])
        found: list[dict[str, Any]] = json.loads(self.run("snapshots", "--json", "--tag", wanted)) or []
        return found

    def sets(self) -> list[dict[str, Any]]:
        """Return all sets, oldest first, each with its snapshots and whether it is complete."""
        found: dict[str, dict[str, Any]] = {}
        for snapshot in self.snapshots():
            tags = dict(tag.partition("=")[::2] for tag in snapshot.get("tags") or [])
            if "set" not in tags:
                continue
            one = found.setdefault(
                tags["set"], {"set": tags["set"], "manifest": "", "wanted": 0, "parts": []}
            )
            if "manifest" in tags:
                one["manifest"], one["wanted"] = snapshot["id"], int(tags["parts"])
            else:
                one["parts"].append(snapshot["id"])
        for one in found.values():
            one["complete"] = bool(one["manifest"]) and len(one["parts"]) >= one["wanted"]
        return sorted(found.values(), key=lambda one: str(one["set"]))

    def save(
        self,
        tags: list[str],
        host: str,
        name: str,
        *what: str,
        give: str | None = None,
        directory: Path | None = None,
    ) -> str:
        """Save something as a snapshot with the time of a set; returns its identifier."""
        all_tags = ",".join([f"site={self.site}", *tags])
        words = ["backup", "--json", "--host", host, "--tag", all_tags, "--time", moment_of(name), *what]
        said = self.run(*words, give=give, directory=directory)
        return str(json.loads(said.strip().splitlines()[-1])["snapshot_id"])


def moment_of(name: str) -> str:
    """Return the time of a set as restic wants it, in UTC.

    Raises:
        FailedError: It is no name of a set.
    """
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds_of(name)))


def seconds_of(name: str) -> int:
    """Return the time of a set in seconds since 1970.

    Raises:
        FailedError: It is no name of a set.
    """
    try:
        return calendar.timegm(time.strptime(name, SET_FORMAT))
    except ValueError:
        raise FailedError(f"{name} is not the name of a set, like 20260131T235959Z") from None


def summed(directory: Path) -> dict[str, Any]:
    """Return number of files below a directory, their size in bytes, and a check sum of names and contents.

    Links count with what they point to as a text; modes and owners are left to restic.
    """
    total, files, size = hashlib.sha256(), 0, 0
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            total.update(f"link {name}\0{path.readlink()}\n".encode())
        elif path.is_file():
            one = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    one.update(block)
                    size += len(block)
            files += 1
            total.update(f"file {name}\0{one.hexdigest()}\n".encode())
    return {"files": files, "bytes": size, "sha256": total.hexdigest()}


def versions(directory: Path) -> dict[str, Any]:
    """Return what a role says of the versions of its state, in the file versions.json of its directory."""
    path = directory / "versions.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def make_key(path: Path, host: str) -> dict[str, Any]:
    """Make the key with which this host reaches the store, unless it is there; returns its public part."""
    changed = not path.exists()
    if changed:
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host, "-f", str(path)]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    return {"changed": changed, "public": path.with_name(f"{path.name}.pub").read_text("utf-8").strip()}


def stage(staging: Path, *, make: bool) -> None:
    """Empty the staging directory, and make it for root only, or take it away."""
    if staging.exists():
        shutil.rmtree(staging)
    if make:
        staging.mkdir(parents=True, mode=0o700)


def save(repository: Repository, name: str, host: str, roles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Save what roles have put into the staging directory; returns an entry of the manifest for each.

    Args:
        repository: Where to.
        name: The set.
        host: Name of this host in the inventory.
        roles: For each its `role`, the `number` of this host in its group, and perhaps `optional`:
            it may have nothing to save.

    Raises:
        FailedError: A role has written nothing.
    """
    staging, entries = Path(repository.settings["staging"]), []
    for one in roles:
        role, directory = one["role"], staging / one["role"]
        if not directory.is_dir() and one.get("optional"):
            continue
        if not directory.is_dir():
            raise FailedError(f"{role} has written nothing to {directory}, as its backup step should")
        known = {"role": role, "number": one["number"], "host": host}
        entry = {**known, "versions": versions(directory), **summed(directory)}
        tags = [f"set={name}", f"role={role}", f"number={one['number']}"]
        entry["snapshot"] = repository.save(tags, host, name, role, directory=staging)
        entries.append(entry)
    return entries


def finish(repository: Repository, name: str, host: str, given: dict[str, Any]) -> dict[str, Any]:
    """Write the manifest of a set, when all that it names is in the repository.

    Raises:
        FailedError: A snapshot is missing, or the set has none.
    """
    entries = given["entries"]
    there = {snapshot["short_id"] for snapshot in repository.snapshots(f"set={name}")}
    missing = [
        f"{entry['role']} of {entry['host']}" for entry in entries if entry["snapshot"][:8] not in there
    ]
    if missing or not entries:
        raise FailedError(f"set {name} is not complete: {', '.join(missing) or 'no host has saved anything'}")
    manifest = {"format": FORMAT, "site": repository.site, "set": name, **given}
    tags = [f"set={name}", "manifest=1", f"parts={len(entries)}"]
    text = json.dumps(manifest, indent=1, sort_keys=True)
    repository.save(tags, host, name, "--stdin", "--stdin-filename", MANIFEST, give=text)
    return {"set": name, "parts": len(entries), "bytes": sum(entry["bytes"] for entry in entries)}


def choose(repository: Repository, name: str) -> dict[str, Any]:
    """Return the manifest of a set, or of the latest complete one if it is called `latest`.

    Raises:
        FailedError: There is no such set, or it is not complete or not of this site or version.
    """
    sets = repository.sets()
    complete = [one["set"] for one in sets if one["complete"]]
    if name == "latest":
        if not complete:
            raise FailedError(f"there is no complete set of the site {repository.site}")
        name = complete[-1]
    if name not in complete:
        known = "is not complete" if name in [one["set"] for one in sets] else "is not there"
        raise FailedError(f"set {name} {known}; complete: {', '.join(complete) or 'none'}")
    found = next(one for one in sets if one["set"] == name)
    manifest: dict[str, Any] = json.loads(repository.run("dump", found["manifest"], f"/{MANIFEST}"))
    if manifest["format"] != FORMAT:
        raise FailedError(
            f"set {name} has format {manifest['format']}, this version reads {FORMAT}: use a newer one"
        )
    there = {part[:8] for part in found["parts"]}
    absent = [entry["snapshot"] for entry in manifest["entries"] if entry["snapshot"][:8] not in there]
    if absent:
        raise FailedError(f"set {name} has lost the snapshots {', '.join(absent)}; choose another set")
    return manifest


def fetch(
    repository: Repository, entries: list[dict[str, Any]], data_paths: list[str], *, confirmed: bool
) -> None:
    """Bring entries of a manifest into the staging directory and compare their check sums.

    Nothing but the staging directory is touched.

    Raises:
        FailedError: The host has data and that was not confirmed, there is no space, or a check sum differs.
    """
    data = [path for path in data_paths if _holds(Path(path))]
    if data and not confirmed:
        raise FailedError(
            f"this host already has data of a site ({', '.join(data)}); "
            f"to replace it, name the site: -e confirm={repository.site}"
        )
    staging = Path(repository.settings["staging"])
    stage(staging, make=True)
    need, free = 2 * sum(entry["bytes"] for entry in entries), shutil.disk_usage(staging).free
    if need > free:
        raise FailedError(f"{staging} needs {need >> 20} MiB to restore, {free >> 20} MiB are free")
    try:
        for entry in entries:
            repository.run("restore", entry["snapshot"], "--target", str(staging))
            found = summed(staging / entry["role"])
            if any(found[key] != entry[key] for key in found):
                raise FailedError(
                    f"{entry['role']} of {entry['host']} is damaged: {found} instead of {entry}"
                )
    except BaseException:
        stage(staging, make=False)
        raise


def _holds(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def tidy(repository: Repository) -> dict[str, Any]:
    """Remove incomplete and surplus sets, check the repository, and write what monitoring wants to know.

    Manifests go first: a set that is half removed is one that does not count.
    """
    repository.run("unlock")
    sets, oldest = repository.sets(), time.time() - 3600 * float(repository.settings["incomplete_hours"])
    doomed = [one for one in sets if not one["complete"] and seconds_of(one["set"]) < oldest]
    doomed += _surplus(repository, [one for one in sets if one["complete"]])
    manifests = [one["manifest"] for one in doomed if one["manifest"]]
    parts = [part for one in doomed for part in one["parts"]]
    for snapshots in (manifests, parts):
        if snapshots:
            repository.run("forget", *snapshots)
    # A store that refuses to delete is only a warning to some versions of restic.
    left = (
        {part for one in repository.sets() for part in (one["manifest"], *one["parts"])} if doomed else set()
    )
    if kept := left.intersection([*manifests, *parts]):
        raise FailedError(
            f"{len(kept)} snapshots could not be removed: the store lets only the keeper do that"
        )
    if doomed:
        repository.run("prune")
    trouble = check(repository)
    answer = {"removed": [one["set"] for one in doomed], "trouble": trouble}
    report(repository, trouble=trouble, checked=int(time.time()))
    if trouble:
        raise FailedError(f"the repository is damaged: {trouble}")
    return answer


def _surplus(repository: Repository, complete: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keep = {"last": 1, **repository.settings["keep"]}
    words = [word for key, value in keep.items() for word in (f"--keep-{key}", str(value))]
    tags = f"site={repository.site},manifest=1"
    said = repository.run("forget", "--dry-run", "--json", "--group-by", "", "--tag", tags, *words)
    removed = {one["id"] for group in json.loads(said or "[]") for one in group.get("remove") or []}
    return [one for one in complete if one["manifest"] in removed]


def check(repository: Repository) -> str:
    """Check the repository's structure and read a part of its data; returns what is wrong, or nothing."""
    try:
        repository.run("check", "--read-data-subset", str(repository.settings["check_subset"]))
    except FailedError as trouble:
        return str(trouble)
    return ""


def report(repository: Repository, *, trouble: str | None = None, checked: int = 0) -> dict[str, Any]:
    """Return the state of the sets, and write it for the node exporter if there is one.

    The result of the last check stays as it was when there was no new one.
    """
    sets = repository.sets()
    complete = [one["set"] for one in sets if one["complete"]]
    state = Path(repository.settings["cache"]) / "check.json"
    if trouble is not None:
        state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.write_text(json.dumps({"time": checked, "good": not trouble}), "utf-8")
    last = json.loads(state.read_text("utf-8")) if state.exists() else {"time": 0, "good": False}
    answer = {
        "complete": complete,
        "incomplete": [one["set"] for one in sets if not one["complete"]],
        "latest": seconds_of(complete[-1]) if complete else 0,
        "checked": last,
    }
    path = repository.settings["metrics_file"]
    if path and Path(path).parent.is_dir():
        _write_metrics(Path(path), repository.site, answer)
    return answer


def _write_metrics(path: Path, site: str, answer: dict[str, Any]) -> None:
    rows = [
        (
            "last_complete_timestamp_seconds",
            "Time of the last complete set; 0: there is none",
            answer["latest"],
        ),
        ("complete_sets", "Complete sets in the repository", len(answer["complete"])),
        ("incomplete_sets", "Sets that are being made or were broken off", len(answer["incomplete"])),
        ("last_check_timestamp_seconds", "Time of the last check", answer["checked"]["time"]),
        ("last_check_success", "Whether the last check found it sound", int(answer["checked"]["good"])),
    ]
    text = "".join(
        f"# HELP dirac_backup_{name} {meaning}.\n# TYPE dirac_backup_{name} gauge\n"
        f'dirac_backup_{name}{{site="{site}"}} {value}\n'
        for name, meaning, value in rows
    )
    fresh = path.with_suffix(".new")
    fresh.write_text(text, "utf-8")
    fresh.chmod(0o644)
    fresh.rename(path)


def require_recent(answer: dict[str, Any], hours: float) -> None:
    """Check that the last complete set is young enough; 0 hours: any age, or none at all.

    Raises:
        FailedError: It is not, or there is none.
    """
    age = (time.time() - answer["latest"]) / 3600
    if hours and age > hours:
        last = f"is {age:.1f} hours old" if answer["latest"] else "is not there"
        raise FailedError(
            f"the last complete set {last}; {hours:g} hours are allowed: run playbooks/backup.yml"
        )


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="dirac-backup", description=__doc__.partition("\n")[0])
    parser.add_argument("--settings", type=Path, default=SETTINGS)
    parser.add_argument(
        "verb",
        choices=[
            "key",
            "init",
            "stage",
            "wipe",
            "save",
            "finish",
            "choose",
            "fetch",
            "tidy",
            "status",
            "check",
        ],
    )
    parser.add_argument("--set", default="latest", help="name of a set: its time, like 20260131T235959Z")
    parser.add_argument("--host", default="", help="name of this host in the inventory")
    parser.add_argument("--input", default="{}", help="JSON; - reads it from standard input")
    parser.add_argument("--hours", type=float, default=0, help="status: how old the last complete set may be")
    arguments = parser.parse_args()
    try:
        given = json.loads(sys.stdin.read() if arguments.input == "-" else arguments.input)
        answer = _do(arguments, given, Repository(json.loads(arguments.settings.read_text("utf-8"))))
    except (FailedError, OSError, ValueError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    json.dump(answer, sys.stdout)
    sys.stdout.write("\n")
    return 0


def _do(arguments: argparse.Namespace, given: dict[str, Any], repository: Repository) -> Any:
    verb, staging = arguments.verb, Path(repository.settings["staging"])
    if verb == "init":
        return {"changed": repository.init()}
    if verb == "key":
        return make_key(Path(repository.settings["ssh_key"]), arguments.host)
    if verb in ("stage", "wipe"):
        return stage(staging, make=verb == "stage")
    if verb == "save":
        return save(repository, arguments.set, arguments.host, given["roles"])
    if verb == "finish":
        return finish(repository, arguments.set, arguments.host, given)
    if verb == "choose":
        return choose(repository, arguments.set)
    if verb == "fetch":
        return fetch(repository, given["entries"], given["data_paths"], confirmed=given["confirmed"])
    if verb == "tidy":
        return tidy(repository)
    answer = report(repository)
    if verb == "status":
        require_recent(answer, arguments.hours)
    elif trouble := check(repository):
        raise FailedError(trouble)
    return answer


if __name__ == "__main__":
    sys.exit(main())
