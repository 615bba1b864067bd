"""The configuration of the installation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dirac.systems.configuration.models import (
    Applied,
    Apply,
    Blame,
    Change,
    Content,
    Convert,
    Converted,
    Explanation,
    Exported,
    Files,
    GitState,
    GitSync,
    Rollback,
    Version,
)
from dirac.transport.http_client import HttpClient


class Config:
    """Calls about the configuration; who is no administrator sees its own VO's part."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def get(self) -> dict[str, Any]:
        """Return the current configuration in the shape that DiracX clients know.

        Example::

            tree = await client.config.get()
        """
        return await self._http.call("GET", "/api/config/", dict[str, Any])

    async def tree(self, *, version: int | None = None, at: datetime | None = None) -> Content:
        """Return a version of the configuration, or what was current at a moment, or is now.

        Raises:
            NotFoundError: There is no such version.

        Example::

            print((await client.config.tree()).text)
        """
        return await self._http.call(
            "GET", "/api/config/tree", Content, params={"version": version, "at": _moment(at)}
        )

    async def files(self, *, version: int | None = None, names: Sequence[str] | None = None) -> Files:
        """Return the files of a version that the caller may change; with `names`, these and their texts.

        Raises:
            NotFoundError: There is no such version.

        Example::

            listed = await client.config.files()
            first = await client.config.files(version=listed.version, names=[listed.files[0].name])
        """
        params = {"version": version, "name": list(names) if names is not None else None}
        return await self._http.call("GET", "/api/config/files", Files, params=params)

    async def apply(
        self,
        text: str,
        *,
        file: str = "configuration",
        comment: str = "",
        dry_run: bool = False,
        base: int | None = None,
        expected_version: int | None = None,
    ) -> Applied:
        """Make a text the configuration. The same text again changes nothing.

        Args:
            text: YAML.
            file: Name of the file it comes from, for messages.
            comment: Why, for the log.
            dry_run: Only say what would change.
            base: Version that the text was made from: what others changed since is kept.
            expected_version: Refuse if the current version is another one.

        Raises:
            InvalidInputError: The text is refused; `where` is file and line.
            ConflictError: The same was changed by others, or the current version is not the expected one.
            NotAllowedError: The caller may not change the configuration.

        Example::

            applied = await client.config.apply(Path("site.yml").read_text(), file="site.yml")
        """
        return await self._apply(
            Apply(
                text=text,
                file=file,
                comment=comment,
                dry_run=dry_run,
                base=base,
                expected_version=expected_version,
            )
        )

    async def apply_files(
        self,
        changed: Mapping[str, str],
        removed: Sequence[str] = (),
        *,
        comment: str = "",
        dry_run: bool = False,
        base: int | None = None,
        expected_version: int | None = None,
    ) -> Applied:
        """Change some files of the configuration; the others stay as they are.

        Args:
            changed: Texts by name, of files that are new or other than before.
            removed: Names of files that are to go.
            comment: Why, for the log.
            dry_run: Only say what would change.
            base: Version that the files were made from: what others changed since is kept.
            expected_version: Refuse if the current version is another one.

        Raises:
            InvalidInputError: A file is refused; `where` is file and line.
            ConflictError: The same was changed by others, or the current version is not the expected one.
            NotAllowedError: Something that the caller may not change would change.

        Example::

            await client.config.apply_files({"vo/bio.yml": text}, base=listed.version)
        """
        return await self._apply(
            Apply(
                files=dict(changed),
                removed=list(removed),
                comment=comment,
                dry_run=dry_run,
                base=base,
                expected_version=expected_version,
            )
        )

    async def _apply(self, request: Apply) -> Applied:
        # A second time is no change, except that the expected version is then a past one.
        repeatable = request.dry_run or request.expected_version is None
        return await self._http.call(
            "POST", "/api/config/apply", Applied, body=request, repeatable=repeatable
        )

    async def convert(self, text: str, *, form: str = "cfg") -> Converted:
        """Return another system's configuration as files of ours, with what was not understood.

        Args:
            text: That configuration.
            form: `cfg` for DIRAC's, `diracx` for DiracX's YAML.

        Raises:
            InvalidInputError: It is not of that form.

        Example::

            made = await client.config.convert(Path("dirac.cfg").read_text())
            await client.config.apply_files(made.files, comment="from DIRAC")
        """
        request = Convert(text=text, form=form)
        return await self._http.call("POST", "/api/config/import", Converted, body=request, repeatable=True)

    async def export(self, form: str, *, version: int | None = None) -> Exported:
        """Return a version as DIRAC (`cfg`), DiracX (`diracx`) or we (`yaml`) write it.

        Raises:
            NotFoundError: There is no such version.

        Example::

            Path("dirac.cfg").write_text((await client.config.export("cfg")).text)
        """
        params = {"form": form, "version": version}
        return await self._http.call("GET", "/api/config/export", Exported, params=params)

    async def explain(
        self, key: str, *, version: int | None = None, at: datetime | None = None
    ) -> Explanation:
        """Return what an option is, where that comes from, what it overrides and what it means.

        Raises:
            NotFoundError: There is no such option or version.

        Example::

            print((await client.config.explain("workload/max_priority")).value)
        """
        params = {"key": key, "version": version, "at": _moment(at)}
        return await self._http.call("GET", "/api/config/explain", Explanation, params=params)

    async def blame(self, key: str, *, version: int | None = None, limit: int = 20) -> list[Blame]:
        """Return the versions that changed an option, newest first.

        Raises:
            NotFoundError: There is no such option or version.

        Example::

            for blame in await client.config.blame("workload/max_priority"):
                print(blame.version, blame.author, blame.value)
        """
        params = {"key": key, "version": version, "limit": limit}
        return await self._http.call("GET", "/api/config/blame", list[Blame], params=params)

    async def diff(self, *, old: int, new: int | None = None) -> list[Change]:
        """Return what is different between two versions; `new` is the current one if not given.

        Raises:
            NotFoundError: There is no such version.

        Example::

            changes = await client.config.diff(old=3, new=5)
        """
        return await self._http.call("GET", "/api/config/diff", list[Change], params={"old": old, "new": new})

    async def log(self, *, limit: int = 100, before: int | None = None) -> list[Version]:
        """Return the accepted versions, newest first.

        Args:
            limit: Most versions.
            before: Only versions older than this one.

        Example::

            for version in await client.config.log():
                print(version.number, version.comment)
        """
        params = {"limit": limit, "before": before}
        return await self._http.call("GET", "/api/config/log", list[Version], params=params)

    async def rollback(self, version: int, *, comment: str = "") -> Applied:
        """Make an old version the current one, as a new version.

        Raises:
            NotFoundError: There is no such version.

        Example::

            await client.config.rollback(4, comment="the new queue does not work")
        """
        request = Rollback(version=version, comment=comment)
        return await self._http.call("POST", "/api/config/rollback", Applied, body=request, repeatable=True)

    async def git(self) -> list[GitState]:
        """Return where the repositories beside the configuration stand; for administrators.

        Example::

            for state in await client.config.git():
                print(state.role, state.commit_id, state.problem)
        """
        return await self._http.call("GET", "/api/config/git", list[GitState])

    async def sync_git(self, *, rewritten: bool = False) -> list[GitState]:
        """Have new commits taken over and new versions sent now; returns where all stood before.

        Args:
            rewritten: Take the source as it is, although its branch was rewritten.

        Raises:
            ConflictError: There is no repository.

        Example::

            await client.config.sync_git()
        """
        request = GitSync(rewritten=rewritten)
        return await self._http.call("POST", "/api/config/git", list[GitState], body=request, repeatable=True)

    async def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the configuration.

        Example::

            Path("schema.json").write_text(json.dumps(await client.config.schema()))
        """
        return await self._http.call("GET", "/api/config/schema", dict[str, Any])


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
