"""The configuration of the installation."""

from __future__ import annotations

from typing import Any

from dirac.systems.configuration.models import Applied, Apply, Change, Content, Rollback, Version
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

    async def tree(self, *, version: int | None = None) -> Content:
        """Return a version of the configuration, the current one if none is named.

        Raises:
            NotFoundError: There is no such version.

        Example::

            print((await client.config.tree()).text)
        """
        return await self._http.call("GET", "/api/config/tree", Content, params={"version": version})

    async def apply(
        self,
        text: str,
        *,
        file: str = "configuration",
        comment: str = "",
        dry_run: bool = False,
        expected_version: int | None = None,
    ) -> Applied:
        """Make a text the configuration. The same text again changes nothing.

        Args:
            text: YAML.
            file: Name of the file it comes from, for messages.
            comment: Why, for the log.
            dry_run: Only say what would change.
            expected_version: Refuse if the current version is another one.

        Raises:
            InvalidInputError: The text is refused; `where` is file and line.
            ConflictError: The current version is not the expected one.
            NotAllowedError: The caller may not change the configuration.

        Example::

            applied = await client.config.apply(Path("site.yml").read_text(), file="site.yml")
        """
        request = Apply(
            text=text, file=file, comment=comment, dry_run=dry_run, expected_version=expected_version
        )
        # A second time is no change, except that the expected version is then a past one.
        repeatable = dry_run or expected_version is None
        return await self._http.call(
            "POST", "/api/config/apply", Applied, body=request, repeatable=repeatable
        )

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

    async def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the configuration.

        Example::

            Path("schema.json").write_text(json.dumps(await client.config.schema()))
        """
        return await self._http.call("GET", "/api/config/schema", dict[str, Any])
