"""State keys for states that cannot be hashed, or that recur only approximately.

Each function gives every row a number, equal for states that count as the same, to be used as `state_key`.

    keys = grid_keys(positions, cell=0.1)
    steps = hgpo.StepTable(state_key=keys, …)

Near states are clustered around leaders. The states of a task are visited in order of frequency, the most
frequent first (ties in sorted order); a state becomes a leader unless it is near an existing one. Each state
then joins the most similar leader. Every member is therefore near its leader, the order of the rows has no
effect, and chains whose neighbours are near but whose ends are far apart do not form.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hgpo.columns import as_sequence
from hgpo.keys import factorize
from hgpo.steps import StepTable

Metric = Literal["euclidean", "cosine"]
"""Distance of two embeddings: |a − b|, or 1 − cos(a, b)."""


def grid_keys(states: ArrayLike, cell: float | Sequence[float]) -> NDArray[np.int64]:
    """States in the same cell of a grid count as the same; O(n log n).

    A state's cell is given by the nearest multiple of `cell` in each dimension, round(s / cell). Two states
    that are closer than a cell can still be on different sides of a border.

    Args:
        states: Shape (rows, dimensions), or (rows,) for one dimension; finite.
        cell: The cell's size, in units of the state; one number, or one per dimension.

    Returns:
        Shape (rows,), dense numbers.

    Raises:
        ValueError: A state is not finite, a cell is not above 0, or the shapes do not fit.
    """
    vectors = _vectors("states", states)
    size = np.asarray(cell, np.float64)
    if size.ndim > 1 or size.size not in (1, vectors.shape[1]) or not np.all((size > 0) & np.isfinite(size)):
        raise ValueError(
            f"cell is {cell}; give a number above 0, or one for each of the {vectors.shape[1]} dimensions"
        )
    # Adding 0 turns −0 into 0.
    cells = np.rint(vectors / size) + 0.0
    return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64, copy=False)


def similar_text_keys(
    texts: Sequence[str], task_id: Sequence[Any] | NDArray[Any], similarity: float
) -> NDArray[np.int64]:
    """Similar texts of one task count as the same state.

    Similarity is 2 M / T, where M is the length of the longest common subsequence in characters and T the sum
    of both lengths (`fuzz.ratio` of rapidfuzz). The cost is distinct texts × leaders per task: n² if all
    differ.

    Args:
        texts: One per row.
        task_id: One per row; texts of different tasks are never the same state.
        similarity: The smallest similarity of a member to its leader, above 0 and at most 1; 0.95 in GiGPO's
        code.

    Returns:
        Shape (rows,), dense numbers.

    Raises:
        ValueError: `similarity` is out of range, or the lengths differ.
        TypeError: A text is not a string.
    """
    require_similarity(similarity)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"row {row}: a {type(text).__name__} is compared as a text; give a string")
    from rapidfuzz import fuzz, process

    def likeness(members: list[str]) -> Callable[[int], NDArray[np.float64]]:
        def to_all(leader: int) -> NDArray[np.float64]:
            ratios = process.cdist([members[leader]], members, scorer=fuzz.ratio, dtype=np.float64)[0] / 100
            return np.where(ratios >= similarity, ratios, -np.inf)

        return to_all

    return _keys_within_tasks(list(texts), task_id, likeness)


def neighbour_keys(
    embeddings: ArrayLike, task_id: Sequence[Any] | NDArray[Any], radius: float, metric: Metric = "euclidean"
) -> NDArray[np.int64]:
    """States of one task with nearby embeddings count as the same.

    The cost is distinct states × leaders per task × dimensions, in numpy: n² if all are far apart.

    Args:
        embeddings: Shape (rows, dimensions), finite; from any model.
        task_id: One per row; states of different tasks are never the same.
        radius: The largest distance of a member from its leader.
        metric: "euclidean", or "cosine", which compares only directions.

    Returns:
        Shape (rows,), dense numbers.

    Raises:
        ValueError: An embedding is not finite, `radius` is negative, or the lengths differ.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"metric is {metric!r}; choose from {', '.join(map(repr, get_args(Metric)))}")
    if not (radius >= 0 and math.isfinite(radius)):
        raise ValueError(f"radius is {radius}; give a finite number of at least 0")
    vectors = _vectors("embeddings", embeddings)
    if metric == "cosine":
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)

    def likeness(members: list[tuple[float, ...]]) -> Callable[[int], NDArray[np.float64]]:
        points = np.array(members)

        def to_all(leader: int) -> NDArray[np.float64]:
            if metric == "cosine":
                distances = 1.0 - points @ points[leader]
            else:
                distances = np.linalg.norm(points - points[leader], axis=1)
            # Rounding may give a point a distance above 0 from itself.
            distances[leader] = 0.0
            return np.where(distances <= radius, -distances, -np.inf)

        return to_all

    return _keys_within_tasks(list(map(tuple, vectors.tolist())), task_id, likeness)


def merge_similar(steps: StepTable, similarity: float) -> StepTable:
    """The table with its observations as states, similar ones as one; see `similar_text_keys`.

    Raises:
        ValueError: The table has no observations.
        TypeError: An observation is not a string.
    """
    if steps.observation is None:
        raise ValueError(
            f"similarity={similarity} compares the texts that the agent saw, but the table has none: give "
            "StepTable(observation=…), or similarity=None to compare state keys"
        )
    return steps.with_state_keys(similar_text_keys(steps.observation.tolist(), steps.task_code, similarity))


def require_similarity(similarity: float) -> None:
    """Raise an error unless `similarity` is above 0 and at most 1."""
    if not 0 < similarity <= 1:
        raise ValueError(f"similarity is {similarity}; give a number above 0 and at most 1, e.g. 0.95")


def _vectors(name: str, values: ArrayLike) -> NDArray[np.float64]:
    vectors = np.asarray(values, np.float64)
    if vectors.ndim == 1:
        vectors = vectors[:, None]
    if vectors.ndim != 2:
        raise ValueError(f"{name} has shape {vectors.shape}; give one vector per row")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(f"row {row}: {name} is {vectors[row]}; give finite numbers")
    return vectors


def _keys_within_tasks(
    states: list[Any],
    task_id: Sequence[Any] | NDArray[Any],
    likeness: Callable[[list[Any]], Callable[[int], NDArray[np.float64]]],
) -> NDArray[np.int64]:
    """A number for every row, equal for the states of a task that have the same leader."""
    if len(states) != len(task_id):
        raise ValueError(f"there are {len(states)} states and {len(task_id)} task ids; give one per row")
    leader_of: dict[tuple[int, Any], Any] = {}
    by_task: dict[int, Counter[Any]] = {}
    tasks = factorize(as_sequence("task_id", task_id), "task_id").tolist()
    for task, state in zip(tasks, states, strict=True):
        by_task.setdefault(task, Counter())[state] += 1
    for task, counts in by_task.items():
        members = sorted(counts, key=lambda state: (-counts[state], state))
        for member, leader in enumerate(_leaders(len(members), likeness(members))):
            leader_of[task, members[member]] = task, members[leader]
    keys = [leader_of[task, state] for task, state in zip(tasks, states, strict=True)]
    return factorize(keys)


def _leaders(count: int, likeness: Callable[[int], NDArray[np.float64]]) -> NDArray[np.int64]:
    """The leader of every member; a leader's leader is itself.

    Args:
        count: Number of members, in the order in which they may become leaders.
        likeness: For a given member, the similarity of all members to it, [members]; −∞ if they are not near.
    """
    best = np.full(count, -np.inf)
    leader = np.arange(count)
    for member in range(count):
        if best[member] == -np.inf:
            found = likeness(member)
            closer = found > best
            best[closer], leader[closer] = found[closer], member
    return leader
