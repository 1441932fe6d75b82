"""Which values are the same key, and which are none."""

import dataclasses
import enum
import math
from collections import namedtuple
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgpo import StepTable
from hgpo.keys import factorize
from hgpo.near_states import neighbour_keys, similar_text_keys

Door = namedtuple("Door", "colour")
Window = namedtuple("Window", "colour")


class Named(enum.StrEnum):
    KITCHEN = "kitchen"


class ByIdentity:
    """What a class does that defines neither __eq__ nor __hash__."""

    def __init__(self, place: Any) -> None:
        self.place = place


class HashAlone(ByIdentity):
    """Equal hashes, and == still by identity."""

    def __hash__(self) -> int:
        return hash(self.place)


class ByValue(HashAlone):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByValue) and self.place == other.place

    def __hash__(self) -> int:
        return hash(self.place)


@dataclasses.dataclass(frozen=True)
class State:
    place: Any
    holding: Any = None


@dataclasses.dataclass(eq=False)
class Unequal:
    place: str


def table(**columns: Any) -> StepTable:
    """Four one-step rollouts of one task."""
    default: dict[str, Any] = {
        "task_id": ["t"] * 4,
        "trajectory_id": [0, 1, 2, 3],
        "step_index": [0] * 4,
        "state_key": ["s"] * 4,
        "reward": [0.0] * 4,
    }
    return StepTable(**default | columns)


def groups_of(keys: Any) -> list[list[int]]:
    codes = table(state_key=keys).state_code
    return [np.flatnonzero(codes == code).tolist() for code in dict.fromkeys(codes.tolist())]


FOUR_TYPES: list[list[Any]] = [
    [1, 1.0, True, "1"],
    [True, 1, "1", 1.0],
    [np.int64(1), np.float32(1), np.bool_(True), np.str_("1")],
    [(1,), (1.0,), (True,), ("1",)],
    [("a", (1,)), ("a", (1.0,)), ("a", (True,)), ("a", ("1",))],
    [frozenset({1}), frozenset({1.0}), frozenset({True}), frozenset({"1"})],
    [Decimal(1), Fraction(1), 1, 1 + 0j],
    [("red",), Door("red"), Window("red"), ("red", "red")],
    [b"1", "1", 1, (1,)],
]


@pytest.mark.parametrize("keys", FOUR_TYPES)
def test_equal_values_of_different_types_are_different_keys(keys: list[Any]):
    assert groups_of(keys) == [[0], [1], [2], [3]]
    as_objects = np.empty(4, object)
    as_objects[:] = keys
    assert groups_of(as_objects) == [[0], [1], [2], [3]]
    # In every order: the first of two values that Python calls equal must not decide.
    assert groups_of(keys[::-1]) == [[0], [1], [2], [3]]


@pytest.mark.parametrize(
    "keys",
    [
        [1, np.int8(1), np.uint64(1), 2],
        np.array([1, 1, 1, 2], np.uint8),
        [0.5, np.float64(0.5), np.float16(0.5), 0.25],
        np.array([0.5, 0.5, 0.5, 0.25], np.float32),
        [0.0, -0.0, 0.0, 1.0],
        np.array([0.0, -0.0, 0.0, 1.0]),
        np.array([True, True, True, False]),
        ["kitchen", Named.KITCHEN, np.str_("kitchen"), "hall"],
        [Named.KITCHEN, "kitchen", np.str_("kitchen"), "hall"],
        np.array(["kitchen"] * 3 + ["hall"]),
        pa.array(["kitchen"] * 3 + ["hall"]),
        list(pa.array(["kitchen"] * 3 + ["hall"])),
        pd.Series(["kitchen"] * 3 + ["hall"], dtype="category"),
        np.array(["2020", "2020", "2020", "2021"], "datetime64[s]"),
        [np.datetime64(1, "ns"), np.datetime64(1, "ns"), np.datetime64(1, "ns"), 1],
        [("hall", ("look", "open")), ("hall", ("look", "open")), ("hall", ("look", "open")), ("hall", ())],
        [State("hall"), State("hall"), State("hall"), State("hall", "mug")],
        [ByValue("hall"), ByValue("hall"), ByValue("hall"), ByValue("attic")],
        [frozenset("ab"), frozenset("ba"), frozenset("ab"), frozenset("a")],
        [range(2), range(2), range(2), range(3)],
    ],
)
def test_equal_values_of_one_type_are_one_key(keys: Any):
    assert groups_of(keys) == [[0, 1, 2], [3]]


def test_numbers_of_tasks_and_trajectories_are_told_apart_as_well():
    steps = table(task_id=[1, 1.0, True, "1"], trajectory_id=[0, False, 0.0, "0"])
    assert len(set(steps.task_code.tolist())) == len(set(steps.trajectory_code.tolist())) == 4
    with pytest.raises(ValueError, match="row 2: step 0 of trajectory 1 is given twice, first in row 0"):
        table(trajectory_id=[1, True, 1, 1.0])


MISSING = {
    "None": None,
    "NaN": math.nan,
    "NumPy's NaN": np.float32("nan"),
    "complex NaN": complex(math.nan, 0),
    "NumPy's NaT": np.datetime64("NaT"),
    "Decimal": Decimal("nan"),
    "pandas' NA": pd.NA,
    "pandas' NaT": pd.NaT,
    "Arrow's null": pa.scalar(None, pa.string()),
    "deep in a tuple": ("hall", (1, (math.nan,))),
    "in a frozenset": frozenset({math.nan}),
    "in a named tuple": Door(math.nan),
    "in a dataclass": State(math.nan),
    "in a dataclass's tuple": State((math.nan,)),
}


@pytest.mark.parametrize("name", ["task_id", "trajectory_id", "state_key"])
@pytest.mark.parametrize("value", MISSING.values(), ids=MISSING)
def test_a_missing_value_is_an_error(value: Any, name: str):
    with pytest.raises(
        ValueError, match=rf"^row 2: {name} (is|holds) .*, a missing value; fill it in, drop "
    ):
        table(**{name: ["a", "b", value, "c"]})


@pytest.mark.parametrize(
    "column",
    [
        np.array([1.0, 2.0, np.nan, 3.0]),
        np.array(["2020", "2020", "NaT", "2021"], "datetime64[ns]"),
        np.array([(1, 2.0), (1, 2.0), (1, np.nan), (1, 2.0)], "i4,f8"),
        np.ma.array([1, 2, 3, 4], mask=np.array([False, False, True, False])),
        pd.Series(["a", "b", None, "c"]),
        pd.array([1, 2, None, 3], dtype="Int64"),
        pd.Series(["a", "b", None, "c"], dtype="category"),
        pa.array(["a", "b", None, "c"]),
        pa.chunked_array([[1, 2], [None, 3]]),
    ],
    ids=lambda column: type(column).__name__,
)
def test_a_missing_value_in_an_array_is_an_error(column: Any):
    with pytest.raises(ValueError, match=r"^row 2: state_key .* missing"):
        table(state_key=column)


def test_none_within_a_key_is_said_on_purpose():
    assert groups_of([("hall", None), ("hall", "mug"), ("hall", None), (None, None)]) == [[0, 2], [1], [3]]
    assert groups_of([Door(None), Door(1), Door(None), Door(0)]) == [[0, 2], [1], [3]]
    assert groups_of([State("hall"), State("hall", None), State("hall", "mug"), State(None)]) == [
        [0, 1],
        [2],
        [3],
    ]


BY_IDENTITY = {
    "object": object,
    "own class": lambda: ByIdentity("hall"),
    "hash alone": lambda: HashAlone("hall"),
    "dataclass without eq": lambda: Unequal("hall"),
    "function": lambda: lambda: None,
    "in a tuple": lambda: ("hall", ByIdentity("hall")),
    "in a frozenset": lambda: frozenset({ByIdentity("hall")}),
    "in a dataclass": lambda: State(ByIdentity("hall")),
    "in a class with a hash": lambda: ByValue(ByIdentity("hall")),
}


@pytest.mark.parametrize("name", ["task_id", "trajectory_id", "state_key"])
@pytest.mark.parametrize("make", BY_IDENTITY.values(), ids=BY_IDENTITY)
def test_what_is_compared_by_identity_is_an_error(make: Any, name: str):
    with pytest.raises(
        TypeError, match=rf"^row 1: {name} (is|holds) an? \w+ that is compared by identity.*give"
    ):
        table(**{name: ["a", make(), make(), "b"]})


def test_every_way_into_a_table_refuses_the_same():
    steps = table()
    with pytest.raises(TypeError, match=r"^row 3: state_key is an object that is compared by identity"):
        steps.with_state_keys(["a", "b", "c", object()])
    with pytest.raises(ValueError, match=r"^row 0: state_key is None"):
        steps.with_state_keys([None, "b", "c", "d"])
    row = {"task_id": "t", "trajectory_id": "x", "step_index": 0, "reward": 0.0}
    with pytest.raises(TypeError, match=r"^row 0: state_key is an object"):
        StepTable.from_rows([{**row, "state_key": object()}])
    with pytest.raises(ValueError, match=r"^row 1: task_id is nan"):
        similar_text_keys(["a", "b"], ["t", math.nan], 0.9)
    with pytest.raises(TypeError, match=r"^row 1: a NoneType is compared as a text; give a string"):
        similar_text_keys(["a", None], ["t", "t"], 0.9)  # pyright: ignore[reportArgumentType]
    assert len(set(neighbour_keys([0.0] * 4, [1, 1.0, True, "1"], radius=1.0).tolist())) == 4


torch = pytest.importorskip("torch", reason="tensors need torch")


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: (t,), lambda t: State(t), lambda t: frozenset({t})])
def test_tensors_are_compared_by_identity(wrap: Any):
    pictures = [wrap(torch.full((2, 2), i % 2)) for i in range(4)]
    with pytest.raises(TypeError, match=r"^row 0: state_key (is|holds) a Tensor .*numpy\(\)\.tobytes\(\)"):
        table(state_key=pictures)


def test_a_tensor_of_numbers_is_a_column():
    assert groups_of(torch.tensor([7, 7, 7, 8])) == [[0, 1, 2], [3]]
    with pytest.raises(TypeError, match=r"^state_key has shape \(4, 2\); a column has one value per row"):
        table(state_key=torch.zeros(4, 2))


WRAPPED = [
    ("task_id", [["t"]] * 4),
    ("trajectory_id", [[0], [1], [2], [3]]),
    ("state_key", [["s"]] * 4),
    ("step_index", [[0]] * 4),
    ("reward", [[1.0]] * 4),
    ("reward", [(1.0,)] * 4),
    ("reward", [np.ones(1)] * 4),
    ("reward", [torch.ones(1)] * 4),
    ("action_valid", [[True]] * 4),
    ("value", [[1.0]] * 4),
    ("policy_version", [[0]] * 4),
    ("observation", [["hall"]] * 4),
    ("action", [["go"]] * 4),
]


@pytest.mark.parametrize(("name", "column"), WRAPPED)
def test_lists_of_one_value_are_not_values(name: str, column: list[Any]):
    with pytest.raises(TypeError, match=rf"^row 0: {name} is .*: \[x for \[x\] in "):
        table(**{name: column})


@pytest.mark.parametrize("name", [name for name, _ in WRAPPED])
def test_a_column_of_an_array_is_not_an_array(name: str):
    with pytest.raises(
        TypeError, match=rf"^{name} has shape \(4, 1\).*one value per row, e.g. {name}\[:, 0\]"
    ):
        table(**{name: np.ones((4, 1))})
    with pytest.raises(TypeError, match=rf"^{name} has shape \(4, 1\)"):
        table(**{name: torch.ones(4, 1)})


def test_lists_of_unequal_lengths_are_named():
    with pytest.raises(TypeError, match=r"^row 1: reward is \[0.0, 1.0\]; give a finite number$"):
        table(reward=[1.0, [0.0, 1.0], 0.0, 0.0])


scalars = st.one_of(
    st.integers(-2, 2),
    st.booleans(),
    st.sampled_from([0.0, -0.0, 1.0, 0.5]),
    st.sampled_from(["", "0", "1", "True"]),
    st.sampled_from([b"", b"1"]),
)
values = st.recursive(scalars, lambda parts: st.lists(parts, max_size=2).map(tuple), max_leaves=4)


def same(one: Any, other: Any) -> bool:
    """The definition: equal and of one type, and so are the parts of tuples."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@given(st.lists(values, max_size=8))
def test_codes_are_equal_exactly_where_values_are_the_same(keys: list[Any]):
    codes = factorize(keys).tolist()
    for one, its in zip(keys, codes, strict=True):
        for other, others in zip(keys, codes, strict=True):
            assert (its == others) == same(one, other)
    assert sorted(set(codes)) == list(range(len(set(codes))))
