"""From YAML to a tree: every fault in one go, each with its place and what is accepted instead."""

from __future__ import annotations

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError, TooLargeError
from dirac.systems.configuration.document import MAX_BYTES, read, write
from dirac.systems.configuration.models import IdentityProvider, Tree

VO = """\
virtual_organisations:
  astro:
    default_group: user
    groups:
      user: {}
      admin:
        properties: [NormalUser, JobAdministrator]
    users:
      alice:
        groups: [user, admin]
"""


def _faults(text: str) -> list[str]:
    """Return the lines of the message, without the summary of several."""
    with pytest.raises(InvalidInputError) as caught:
        read(text, "site.yaml").tree()
    error = caught.value
    lines = error.message.splitlines()
    return [f"{error.where}: {error.message}"] if len(lines) == 1 else lines[1:]


def test_a_sound_text_is_a_tree_with_defaults() -> None:
    tree = read(VO).tree()
    astro = tree.virtual_organisations["astro"]
    assert astro.groups["user"].job_share == 1000
    assert astro.groups["admin"].properties == ["NormalUser", "JobAdministrator"]
    assert tree.pilot.release == "pro"


def test_an_option_may_be_a_name_or_a_section() -> None:
    named = read(VO + "    identity_provider: password\n").tree()
    assert named.virtual_organisations["astro"].identity_provider == "password"
    written = VO + "    identity_provider:\n      issuer: https://iam.test\n      client_id: dirac\n"
    tree = read(written).tree()
    provider = tree.virtual_organisations["astro"].identity_provider
    assert isinstance(provider, IdentityProvider)
    assert (provider.issuer, provider.admits.value) == ("https://iam.test", "members")
    assert read(write(tree)).tree() == tree
    with_faults = VO + "    identity_provider:\n      issuer: iam\n      client: dirac\n"
    assert _faults(with_faults) == [
        "site.yaml:11:5: virtual_organisations/astro/identity_provider: the option `client_id` is missing",
        "site.yaml:12:15: virtual_organisations/astro/identity_provider/issuer: "
        "expected an address without a query: https://..., found `iam`",
        "site.yaml:13:7: virtual_organisations/astro/identity_provider/client: "
        "unknown option `client`; did you mean `client_id`?",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "site.yaml:1:1: the document is empty; write {} for a configuration of defaults"),
        ("# nothing\n", "site.yaml:1:1: the document is empty; write {} for a configuration of defaults"),
        ("- a\n", "site.yaml:1:1: expected lines of `name: value`, found a list"),
        ("hello\n", "site.yaml:1:1: expected lines of `name: value`, found `hello`"),
        ("pilot:\n\tmax_jobs: 1\n", "site.yaml:2:1: a tab; YAML is indented with spaces only"),
        ("pilot: {max_jobs: 1}\n---\n{}\n", "site.yaml:2:1: a second document"),
        ("pilot: max_jobs: 1\n", "site.yaml:1:16: this is no valid YAML: mapping values"),
        ("pilot: *missing\n", "site.yaml:1:8: this is no valid YAML: found undefined alias"),
        ("pilot: [1,\n", "site.yaml:2:1: this is no valid YAML"),
        ("pilot:\n  a: \x00\n", "site.yaml:2:6: a character that cannot be printed (U+0000)"),
        ("pilot: \ud800\n", "site.yaml:1:8: a character that cannot be printed (U+D800)"),
        ("pilots: {}\n", "site.yaml:1:1: pilots: unknown option `pilots`; did you mean `pilot`?"),
        ("pilot: {}\npilot: {}\n", "site.yaml:2:1: pilot: this is here twice; the first is on line 1"),
        ("? [a]\n: 1\n", "site.yaml:1:3: expected a name, found a list"),
        ("pilot: !!python/name:os.system {}\n", "site.yaml:1:8: pilot: the tag "),
        ("pilot: !own {}\n", "site.yaml:1:8: pilot: the tag `!own` is not accepted; remove it"),
        ("pilot: {<<: {max_jobs: 1}}\n", "site.yaml:1:9: pilot: merging with `<<` is not accepted"),
        ("pilot: {max_jobs: many}\n", "site.yaml:1:19: pilot/max_jobs: expected a whole number from 1 to "),
        ("pilot: {max_jobs: 0}\n", "site.yaml:1:19: pilot/max_jobs: expected a whole number from 1 to "),
        ("pilot: {max_jobs: 010}\n", "site.yaml:1:19: pilot/max_jobs: expected a whole number"),
        ("pilot: {max_jobs: 1:30}\n", "site.yaml:1:19: pilot/max_jobs: expected a whole number"),
        ("pilot: {max_jobs: 1.5}\n", "site.yaml:1:19: pilot/max_jobs: expected a whole number"),
        ("pilot: {max_jobs: '1'}\n", "site.yaml:1:19: pilot/max_jobs: expected a whole number"),
        ("pilot: {max_jobs: }\n", "found no value"),
        (f"pilot: {{max_jobs: {'9' * 5000}}}\n", "expected a whole number"),
        ("pilot: {release: 8.0}\n", "found `8.0`; put it in quotes"),
        ("pilot: {release: no}\n", "found `no`; put it in quotes"),
        ("pilot: {release: [a]}\n", "found a list"),
        ("pilot: {locations: /cvmfs}\n", "expected a list, as in [a, b], found `/cvmfs`"),
        ("pilot: {locations: []}\n", "expected at least 1 value, found none"),
        ("sites: {Here: {virtual_organisations: []}}\n", "expected a site's name, three fields with dots"),
        ("sites: {LCG.Here.ch: {}}\n", "sites/LCG.Here.ch: the option `virtual_organisations` is missing"),
        (
            VO.replace("[NormalUser,", "[NormalUsr,"),
            "`NormalUsr` is not accepted here; did you mean `NormalUser`?",
        ),
        (VO.replace("alice", '"alice\\n"'), "expected a name of at most 63 letters"),
        (VO + "        sub: 'job:1:1'\n", "does not begin with pilot:, job: or node:, found `job:1:1`"),
        (VO + "        suspended: maybe\n", "expected true or false, found `maybe`"),
    ],
)
def test_a_fault_has_its_place_and_what_is_accepted(text: str, fault: str) -> None:
    (found,) = _faults(text)
    assert fault in found
    assert found.startswith("site.yaml:")


def test_all_faults_are_reported_at_once_in_the_order_of_the_text() -> None:
    text = (
        VO.replace("default_group: user", "default_grup: user").replace("admin]", "x y]")
        + "pilot: {idle: 1}\n"
    )
    found = _faults(text)
    assert [line.split(": ")[0] for line in found] == [
        "site.yaml:2:3",
        "site.yaml:3:5",
        "site.yaml:10:24",
        "site.yaml:11:9",
    ]
    with pytest.raises(InvalidInputError) as caught:
        read(text, "site.yaml").tree()
    assert caught.value.where == "site.yaml:2:3"


def test_a_flood_of_faults_is_cut() -> None:
    found = _faults("pilot: {" + ", ".join(f"x{number}: 1" for number in range(250)) + "}\n")
    assert len(found) == 101
    assert found[-1] == "and 150 more"


def test_text_that_is_too_large_is_refused() -> None:
    with pytest.raises(TooLargeError, match=str(MAX_BYTES)):
        read("# " + "é" * (MAX_BYTES // 2))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused(opening: str) -> None:
    (found,) = _faults(opening * 5_000)
    assert "more than 40 levels of nesting" in found


SETTINGS = """\
sites:
  LCG.Here.ch:
    virtual_organisations: []
    computing_elements:
      ce: {{type: local, settings: {{{}}}}}
"""


def test_an_alias_stands_for_what_it_names() -> None:
    tree = read(SETTINGS.format("a: &x [1, two, 3.5, true], b: *x, c: 2026-01-01")).tree()
    settings = tree.sites["LCG.Here.ch"].computing_elements["ce"].settings
    assert settings == {"a": [1, "two", 3.5, True], "b": [1, "two", 3.5, True], "c": "2026-01-01"}


def test_aliases_that_grow_are_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (found,) = _faults(SETTINGS.format(", ".join(levels)))
    assert "aliases make it far too large" in found


def test_an_alias_within_itself_is_refused() -> None:
    found = _faults(SETTINGS.format("a: &a [*a]"))
    assert "more than 40 levels of nesting" in found[0]


@pytest.mark.parametrize(
    "value", [".inf", ".nan", "~", "1:30", "9223372036854775808", '"\\x00"', "!!set {a}"]
)
def test_settings_hold_what_json_and_every_database_can(value: str) -> None:
    (found,) = _faults(SETTINGS.format(f"a: {value}"))
    assert "settings/a" in found


def test_a_section_without_anything_has_its_defaults() -> None:
    assert read("pilot:\nsites:\nworkload:\n").tree() == Tree()


@given(st.text())
def test_any_text_is_a_tree_or_a_fault_of_the_caller(text: str) -> None:
    document = read(text)
    if document.faults:
        assert all(fault.line >= 1 and fault.column >= 1 and fault.text for fault in document.faults)
    else:
        assert isinstance(document.tree(), Tree)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["user", "NormalUser"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["user", "groups", "x"]), inner)
    ),
    max_leaves=4,
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "pilot": st.fixed_dictionaries({}, optional={"max_jobs": JSON, "release": JSON, "locations": JSON}),
        "workload": JSON,
        "virtual_organisations": st.dictionaries(
            st.sampled_from(["astro", "b o"]),
            st.fixed_dictionaries({}, optional={"default_group": JSON, "groups": JSON, "users": JSON}),
            max_size=2,
        ),
    },
)


@given(OPTIONS)
def test_what_is_accepted_is_what_the_models_accept(value: dict[str, object]) -> None:
    try:
        tree = read(yaml.safe_dump(value, allow_unicode=True)).tree()
    except InvalidInputError:
        return
    assert tree == msgspec.convert(_without_empty(value), Tree)


def _without_empty(value: object) -> object:
    """Write a section without anything as an empty one, as YAML's readers mean it."""
    if isinstance(value, dict):
        optional = {"email", "sub"}
        return {
            key: {} if item is None and key not in optional else _without_empty(item)
            for key, item in value.items()
        }
    return value


def test_what_is_written_is_read_as_the_same() -> None:
    tree = read(VO + "pilot: {max_jobs: 7}\n").tree()
    assert read(write(tree)).tree() == tree
