"""The estimators once more, as loops over dicts written from the definitions, to check the package by.

Slow on purpose: every row looks through all rows for its peers. Returns are fractions, so that nothing is
rounded and two of them are equal or not.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from tables import Rows

from hgpo import GRPO, HGPO


def exact(number: float) -> Fraction:
    """The decimal number that is meant: 0.95 is 19/20."""
    return Fraction(repr(float(number)))


def mean(values: Sequence[Any]) -> Any:
    return sum(values, Fraction(0)) / len(values)


def normalized(
    value: Any,
    values: Sequence[Any],
    normalization: str,
    epsilon: float,
    ddof: int,
    peers: Sequence[Any] | None = None,
) -> float:
    """How far a value lies from the mean of a group, or of its peers within the group."""
    if not compared(value, values, peers):
        return 0.0
    deviation = float(value - mean(values if peers is None else peers))
    if normalization == "mean":
        return deviation
    centre = float(mean(values))
    variance = sum((float(value) - centre) ** 2 for value in values) / (len(values) - ddof)
    return deviation / (variance**0.5 + epsilon)


def compared(value: Any, values: Sequence[Any], peers: Sequence[Any] | None) -> bool:
    """Whether some peer has another value; without a choice of peers, whether the group has two."""
    if peers is None:
        return len(set(values)) >= 2
    return any(peer != value for peer in peers)


def penalty(row: dict, invalid_penalty: float) -> Fraction:
    return Fraction(0) if row["action_valid"] else exact(invalid_penalty)


def returns_to_go(rows: Rows, discount: float, invalid_penalty: float, propagate: bool) -> list[Fraction]:
    result = []
    for row in rows:
        later = [
            other
            for other in rows
            if other["trajectory_id"] == row["trajectory_id"] and other["step_index"] >= row["step_index"]
        ]
        total = sum(
            exact(discount) ** (other["step_index"] - row["step_index"])
            * (exact(other["reward"]) - propagate * penalty(other, invalid_penalty))
            for other in later
        )
        result.append(total - (not propagate) * penalty(row, invalid_penalty))
    return result


def trajectory_scores(rows: Rows, invalid_penalty: float, propagate: bool) -> list[Fraction]:
    result = []
    for row in rows:
        own = [other for other in rows if other["trajectory_id"] == row["trajectory_id"]]
        total = sum(exact(other["reward"]) - propagate * penalty(other, invalid_penalty) for other in own)
        result.append(total - (not propagate) * penalty(row, invalid_penalty))
    return result


def grpo(rows: Rows, settings: GRPO) -> list[float]:
    scores = trajectory_scores(rows, settings.invalid_penalty, settings.propagate_penalty)
    result = []
    for number, score in enumerate(scores):
        values, peers = sampled_scores(rows, scores, number, settings.statistics, settings.peers)
        result.append(
            normalized(score, values, settings.normalization, settings.epsilon, settings.ddof, peers)
        )
    return result


def sampled_scores(
    rows: Rows, scores: list[Fraction], number: int, statistics: str, peers: str
) -> tuple[list[Fraction], list[Fraction] | None]:
    """The scores that a task's mean runs over, and those of the row's peers among them."""
    sampled = [
        other
        for other, row in enumerate(rows)
        if row["task_id"] == rows[number]["task_id"] and (statistics == "rows" or row["step_index"] == 0)
    ]
    chosen = peers_of(rows, number, sampled, peers)
    return [scores[i] for i in sampled], None if chosen is None else [scores[i] for i in chosen]


def last_states(rows: Rows, row: dict, level: int, start_token: bool = False) -> list | None:
    """The states at t − level … t, or None where there are fewer and no token stands for them."""
    by_time = {
        other["step_index"]: other["state_key"]
        for other in rows
        if other["trajectory_id"] == row["trajectory_id"]
    }
    time = row["step_index"]
    if time < level and not start_token:
        return None
    return [by_time.get(t) for t in range(time - level, time + 1)]


def group_of(rows: Rows, row: dict, level: int, start_token: bool) -> list[int] | None:
    """The numbers of the rows that the row meets at a level, its own included."""
    context = last_states(rows, row, level, start_token)
    if context is None:
        return None
    return [
        number
        for number, other in enumerate(rows)
        if other["task_id"] == row["task_id"] and last_states(rows, other, level, start_token) == context
    ]


def peers_of(rows: Rows, number: int, group: list[int], peers: str) -> list[int] | None:
    if peers == "all":
        return None
    if peers == "others":
        return [other for other in group if other != number]
    own = rows[number]["trajectory_id"]
    return [other for other in group if rows[other]["trajectory_id"] != own]


def components(
    rows: Rows, returns: list[Fraction], level: int, start_token: bool, stretch: range
) -> tuple[float, float]:
    """τ² and σ² of a level within the one above, among the rows of some steps, by docs/estimators.md."""

    def here(group: list[int] | None) -> tuple[int, ...]:
        return tuple(i for i in group or () if rows[i]["step_index"] in stretch)

    inner = {here(group_of(rows, row, level, start_token)) for row in rows} - {()}
    outer: dict[tuple, list[tuple]] = {}
    for group in inner:
        outer.setdefault(here(group_of(rows, rows[group[0]], level - 1, start_token)), []).append(group)
    size = sum(map(len, inner))
    square = sum(float(returns[i] - mean([returns[j] for j in group])) ** 2 for group in inner for i in group)
    within = square / (size - len(inner)) if size > len(inner) else 0.0
    if len(inner) == len(outer):
        return 0.0, within
    between, spread = 0.0, float(size)
    for groups in outer.values():
        everyone = [i for group in groups for i in group]
        centre = mean([returns[i] for i in everyone])
        between += sum(len(g) * float(mean([returns[i] for i in g]) - centre) ** 2 for g in groups)
        spread -= sum(len(g) ** 2 for g in groups) / len(everyone)
    return max(0.0, (between - (len(inner) - len(outer)) * within) / spread), within


def hgpo(rows: Rows, settings: HGPO) -> list[float]:
    returns = returns_to_go(rows, settings.discount, settings.invalid_penalty, settings.propagate_penalty)
    if settings.level_weights == "reliability":
        return hgpo_by_reliability(rows, settings, returns)
    episode = grpo(
        rows,
        GRPO(
            normalization=settings.normalization,
            statistics=settings.episode_statistics,
            peers="all" if settings.peers == "all" else "other_trajectories",
            epsilon=settings.epsilon,
            invalid_penalty=settings.invalid_penalty,
            propagate_penalty=settings.propagate_penalty,
        ),
    )
    offset = max(settings.level_offset, 2) if settings.episode_level else settings.level_offset
    scores = trajectory_scores(rows, settings.invalid_penalty, settings.propagate_penalty)
    result = []
    for number, row in enumerate(rows):
        advantages_and_weights = []
        if settings.episode_level:
            of_task = [i for i, other in enumerate(rows) if other["task_id"] == row["task_id"]]
            values, peer_values = sampled_scores(
                rows,
                scores,
                number,
                settings.episode_statistics,
                "all" if settings.peers == "all" else "other_trajectories",
            )
            counts = (
                compared(scores[number], values, peer_values)
                if settings.counting_levels == "different_returns"
                else episode[number] != 0
            )
            if counts:
                peers = peers_of(rows, number, of_task, settings.peers)
                size = len(of_task) - 1 if peers is None else len(peers)
                weight = size if settings.level_weights == "size" else 1
                advantages_and_weights.append((episode[number], float(weight)))
        for level in range(settings.history_length + 1):
            group = group_of(rows, row, level, settings.start_token)
            if group is None:
                continue
            peers = peers_of(rows, number, group, settings.peers)
            values = [returns[i] for i in group]
            peer_values = None if peers is None else [returns[i] for i in peers]
            advantage = normalized(
                returns[number], values, settings.normalization, settings.epsilon, 0, peer_values
            )
            counts = (
                compared(returns[number], values, peer_values)
                if settings.counting_levels == "different_returns"
                else advantage != 0
            )
            if counts:
                size = len(group) - 1 if peers is None else len(peers)
                weight = size if settings.level_weights == "size" else 1
                advantages_and_weights.append((advantage, weight * (level + offset) ** settings.alpha))
        total = sum(weight for _, weight in advantages_and_weights)
        weighted = sum(weight * advantage for advantage, weight in advantages_and_weights)
        result.append(weighted / (total + settings.weight_epsilon) if total else 0.0)
    return result


def hgpo_by_reliability(rows: Rows, settings: HGPO, returns: list[Fraction]) -> list[float]:
    stretches = [range(1), range(1, 2), range(2, 4), range(4, 8)]
    variances = {
        (level, stretch): components(rows, returns, level, settings.start_token, stretch)
        for level in range(1, settings.history_length + 1)
        for stretch in stretches
    }
    result = []
    for number, row in enumerate(rows):
        advantage = 0.0
        for level in range(settings.history_length + 1):
            group = group_of(rows, row, level, settings.start_token)
            if group is None:
                continue
            peers = peers_of(rows, number, group, settings.peers)
            own = normalized(
                returns[number],
                [returns[i] for i in group],
                settings.normalization,
                settings.epsilon,
                0,
                None if peers is None else [returns[i] for i in peers],
            )
            size = len(group) if peers is None else len(peers)
            if level == 0:
                advantage = own
            elif size > (peers is None):
                stretch = next(stretch for stretch in stretches if row["step_index"] in stretch)
                between, within = variances[level, stretch]
                trust = between / (between + within / size) if between > 0 else 0.0
                advantage += trust * (own - advantage)
        result.append(advantage)
    return result
