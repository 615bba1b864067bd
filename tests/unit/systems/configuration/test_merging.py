"""Two administrators edit the same version: nothing that one of them did is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from dirac.core.errors import ConflictError
from dirac.systems.configuration.checks import Checker
from dirac.systems.configuration.edits import Edit, Judge
from dirac.systems.configuration.layout import EMPTY, State
from dirac.systems.configuration.merging import Told, put_together

JUDGE = Judge(Checker(lambda _: ["JobSanity", "InputData", "JobScheduling"], lambda *_: None))
OPTIONS = ("max_jobs", "min_disk", "idle_seconds", "token_seconds")
VALUES = st.dictionaries(st.sampled_from(OPTIONS), st.integers(1, 4), max_size=4)
USERS = st.lists(st.sampled_from(["ada", "bob", "cy", "dora"]), unique=True, max_size=4)
SAID = st.tuples(VALUES, USERS, st.booleans(), st.booleans())


def _texts(said: tuple[dict[str, int], list[str], bool, bool]) -> dict[str, str]:
    """Return files: options on lines of their own or on one; users; some with remarks."""
    options, users, one_line, remarks = said
    if one_line:
        pilot = "pilot: {" + ", ".join(f"{name}: {value}" for name, value in options.items()) + "}\n"
    else:
        pilot = "pilot:\n" + "".join(f"  {name}: {value}\n" for name, value in sorted(options.items()))
    vo = "virtual_organisations:\n  bio:\n    default_group: user\n    groups: {user: {}}\n    users:\n"
    vo += "".join(f"      {user}: {{groups: [user]}}\n" for user in sorted(users))
    return {"pilot.yml": ("# for pilots\n" if remarks else "") + pilot, "bio.yml": vo}


def _state(said: tuple[dict[str, int], list[str], bool, bool], version: int, before: State) -> Told:
    texts = _texts(said)
    outcome = JUDGE.judge(before, Edit(texts), {})
    snapshot = structs.replace(EMPTY, version=version, tree=outcome.tree)
    return State(snapshot, outcome.parts), texts


def _facts(told: State) -> dict[str, object]:
    tree = told.snapshot.tree
    facts: dict[str, object] = {name: getattr(tree.pilot, name) for name in OPTIONS}
    return facts | {f"user {name}": True for name in tree.virtual_organisations["bio"].users}


def _edited(before: dict[str, object], after: dict[str, object]) -> dict[str, object]:
    names = before.keys() | after.keys()
    return {name: after.get(name) for name in names if before.get(name) != after.get(name)}


@given(SAID, SAID, SAID)
@settings(deadline=None)
def test_what_both_did_is_there_or_it_is_refused(
    base: tuple[dict[str, int], list[str], bool, bool],
    first: tuple[dict[str, int], list[str], bool, bool],
    second: tuple[dict[str, int], list[str], bool, bool],
) -> None:
    start, old = _state(base, 1, State(EMPTY, {}))
    head, theirs = _state(first, 2, start)
    wanted, _ = _state(second, 2, start)
    by_first = _edited(_facts(start), _facts(head))
    by_second = _edited(_facts(start), _facts(wanted))
    differing = {name for name in by_first.keys() & by_second.keys() if by_first[name] != by_second[name]}
    try:
        outcome, edit = put_together(JUDGE, Edit(_texts(second)), (start, old), (head, theirs))
    except ConflictError:
        return
    assert not differing, "the same option in two ways is never decided by the order"
    made = State(structs.replace(EMPTY, tree=outcome.tree), outcome.parts)
    assert _edited(_facts(start), _facts(made)) == by_first | by_second
    again = JUDGE.judge(State(EMPTY, {}), edit, {})
    assert again.tree == outcome.tree, "the texts that are kept say the same"


@given(VALUES, st.sampled_from(OPTIONS), st.sampled_from(OPTIONS))
@settings(deadline=None)
def test_two_options_on_lines_of_their_own_are_always_merged(
    values: dict[str, int], one: str, other: str
) -> None:
    base = (dict.fromkeys(OPTIONS, 5) | values, ["ada"], False, False)
    if one == other:
        return
    start, old = _state(base, 1, State(EMPTY, {}))
    head, theirs = _state(({**base[0], one: 9}, ["ada"], False, False), 2, start)
    mine = Edit(_texts(({**base[0], other: 8}, ["ada"], False, True)))
    outcome, _ = put_together(JUDGE, mine, (start, old), (head, theirs))
    assert (getattr(outcome.tree.pilot, one), getattr(outcome.tree.pilot, other)) == (9, 8)
