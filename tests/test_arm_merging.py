"""One merge, three sets of rules: the standard's, and what ARM makes of it in a PATCH and in a PUT of a scale set."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vmss_sim.arm.merging import NOTHING_OF_ARM, PATCH, PUT, merged

LEAVES = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(("a", "b"))
DOCUMENTS = st.dictionaries(
    st.sampled_from("abcd"),
    st.recursive(LEAVES, lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3), max_leaves=6),
    max_size=4,
)


def _rfc_7396(target: Any, patch: Any) -> Any:
    """The algorithm as the standard writes it."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = _rfc_7396(target.get(name), value)
    return target


def _without_nulls(value: Any) -> Any:
    return (
        {key: _without_nulls(one) for key, one in value.items() if one is not None}
        if isinstance(value, dict)
        else value
    )


@given(old=DOCUMENTS.map(_without_nulls), new=DOCUMENTS)
def test_a_patch_is_a_merge_patch(old: Any, new: Any) -> None:
    assert merged(old, new, PATCH) == _rfc_7396(old, new)


@given(old=DOCUMENTS.map(_without_nulls), new=DOCUMENTS)
def test_a_put_takes_nothing_away_and_says_what_it_says(old: Any, new: Any) -> None:
    made = merged(old, new, PUT)
    assert made == _rfc_7396(old, _without_nulls(new))


@given(old=DOCUMENTS.map(_without_nulls))
def test_to_write_what_is_there_changes_nothing(old: Any) -> None:
    assert merged(old, old, PATCH) == merged(old, old, PUT) == old


def test_items_of_lists_are_merged_by_name_in_a_patch_and_replaced_in_a_put() -> None:
    old = {"list": [{"name": "a", "x": 1, "y": 1}, {"name": "b", "x": 2}], "plain": [1, 2]}
    new = {"list": [{"name": "c"}, {"name": "a", "x": 3}], "plain": [3]}
    assert merged(old, new, PATCH) == {
        "list": [{"name": "c"}, {"name": "a", "x": 3, "y": 1}],
        "plain": [3],
    }
    assert merged(old, new, PUT) == new


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=50)
@given(JSON, JSON)
def test_merging_twice_is_merging_once(old: Any, patch: Any) -> None:
    once = merged(old, patch, NOTHING_OF_ARM)
    assert merged(once, patch, NOTHING_OF_ARM) == once


@given(JSON, JSON)
def test_what_is_none_of_ours_is_merged_by_the_standard_alone(old: Any, new: Any) -> None:
    assert merged(old, new, NOTHING_OF_ARM) == _rfc_7396(old, new)


def test_what_arm_does_otherwise() -> None:
    old = {
        "tags": {"a": "b"},
        "diffDiskSettings": {"option": "Local"},
        "imageReference": {"publisher": "P", "offer": "O"},
    }
    new = {"tags": {"c": "d"}, "diffDiskSettings": {}, "imageReference": {"id": "/i"}}
    assert merged(old, new, PUT) == new
    assert merged(old, new, PATCH) == {**new, "diffDiskSettings": {"option": "Local"}}
    ids = {"userAssignedIdentities": {"/A": {}, "/b": {}}}
    gone = {"userAssignedIdentities": {"/a": None}}
    assert merged(ids, gone, PUT) == merged(ids, gone, PATCH) == {"userAssignedIdentities": {"/b": {}}}
    plain = merged(old, {**new, **gone}, NOTHING_OF_ARM)
    assert plain == {
        "tags": {"a": "b", "c": "d"},
        "diffDiskSettings": {"option": "Local"},
        "imageReference": {"publisher": "P", "offer": "O", "id": "/i"},
        "userAssignedIdentities": {},
    }
