"""Following a provider's list of users."""

from __future__ import annotations

from dirac.server.composition import build
from dirac.systems.identity.logic.people import People
from tests.integration.identity.conftest import ADA, Site, astro, person
from tests.services.browser import Browser
from tests.services.oidc import OidcProvider


async def _follow(site: Site) -> int:
    installation = build(site.settings)
    try:
        people: People = installation.provide(People)
        return await people.follow()
    finally:
        await installation.close()


async def test_who_is_gone_from_the_list_of_users_is_suspended(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-ada": ADA, "sub-bob": person(preferred_username="bob")})
    await _follow(site)  # what other tests left
    ada, bob = site.login("astro", "sub-ada"), site.login("astro", "sub-bob")
    others = {f"sub-{number}": person() for number in range(250)}
    stars.change(others | {"sub-ada": ADA, "sub-bob": person()})
    assert await _follow(site) == 0, "they are on the third page"
    stars.change(others | {"sub-ada": ADA | {"active": False}})
    assert await _follow(site) == 2
    assert await _follow(site) == 0
    assert [site.refresh(tokens).status_code for tokens in (ada, bob)] == [400, 400]
    stars.change({"sub-ada": ADA, "sub-bob": person()})
    flow = site.device("vo:astro")
    with Browser() as browser:
        browser.open(flow["verification_uri_complete"]).submit(decision="allow").log_in_there("sub-ada")
        assert browser.status == 403
        assert "suspended" in browser.text
    assert await _follow(site) == 2
    site.login("astro", "sub-ada")


async def test_a_list_that_cannot_be_read_suspends_nobody(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-cat": ADA})
    tokens = site.login("astro", "sub-cat")
    stars.change({})
    site.configure(astro=astro(site, stars, scim_scopes=["openid"]))
    assert await _follow(site) == 0
    stars.change({"sub-cat": ADA})
    assert site.refresh(tokens).status_code == 200
