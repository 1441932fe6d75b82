"""The estimators once more, as loops over dicts written from the definitions, to check the package by.

Slow on purpose: every row looks through all rows for its peers.
"""

from hgpo import GRPO, HGPO

from .tables import Rows

ROUNDING = 1e-12


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def differ(values: list[float]) -> bool:
    return max(values) - min(values) > ROUNDING * max(abs(value) for value in values)


def normalized(value: float, values: list[float], normalization: str, epsilon: float, ddof: int) -> float:
    """How far a value lies from the mean of a group."""
    if len(values) < 2 or not differ(values):
        return 0.0
    deviation = value - mean(values)
    if abs(deviation) <= ROUNDING * max(abs(value) for value in values):
        return 0.0
    if normalization == "mean":
        return deviation
    variance = sum((value - mean(values)) ** 2 for value in values) / (len(values) - ddof)
    return deviation / (variance**0.5 + epsilon)


def penalty(row: dict, invalid_penalty: float) -> float:
    return 0.0 if row["action_valid"] else invalid_penalty


def returns_to_go(rows: Rows, discount: float, invalid_penalty: float, propagate: bool) -> list[float]:
    result = []
    for row in rows:
        later = [
            other
            for other in rows
            if other["trajectory_id"] == row["trajectory_id"] and other["step_index"] >= row["step_index"]
        ]
        total = sum(
            discount ** (other["step_index"] - row["step_index"])
            * (other["reward"] - propagate * penalty(other, invalid_penalty))
            for other in later
        )
        result.append(total - (not propagate) * penalty(row, invalid_penalty))
    return result


def trajectory_scores(rows: Rows, invalid_penalty: float, propagate: bool) -> list[float]:
    result = []
    for row in rows:
        own = [other for other in rows if other["trajectory_id"] == row["trajectory_id"]]
        own.sort(key=lambda other: other["step_index"])
        total = sum(other["reward"] - propagate * penalty(other, invalid_penalty) for other in own)
        result.append(total - (not propagate) * penalty(row, invalid_penalty))
    return result


def grpo(rows: Rows, settings: GRPO) -> list[float]:
    scores = trajectory_scores(rows, settings.invalid_penalty, settings.propagate_penalty)
    result = []
    for row, score in zip(rows, scores, strict=True):
        values = [
            other_score
            for other, other_score in zip(rows, scores, strict=True)
            if other["task_id"] == row["task_id"]
            and (settings.statistics == "rows" or other["step_index"] == 0)
        ]
        result.append(normalized(score, values, settings.normalization, settings.epsilon, settings.ddof))
    return result


def last_states(rows: Rows, row: dict, level: int) -> list | None:
    """The states at t − level … t, or None where there are fewer."""
    by_time = {
        other["step_index"]: other["state_key"]
        for other in rows
        if other["trajectory_id"] == row["trajectory_id"]
    }
    time = row["step_index"]
    return None if time < level else [by_time[t] for t in range(time - level, time + 1)]


def hgpo(rows: Rows, settings: HGPO) -> list[float]:
    returns = returns_to_go(rows, settings.discount, settings.invalid_penalty, settings.propagate_penalty)
    episode = grpo(
        rows,
        GRPO(
            normalization=settings.normalization,
            statistics=settings.episode_statistics,
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
            of_task = [
                score
                for other, score in zip(rows, scores, strict=True)
                if other["task_id"] == row["task_id"]
                and (settings.episode_statistics == "rows" or other["step_index"] == 0)
            ]
            counts = (
                differ(of_task) if settings.counting_levels == "different_returns" else episode[number] != 0
            )
            if counts:
                advantages_and_weights.append((episode[number], 1.0))
        for level in range(settings.history_length + 1):
            context = last_states(rows, row, level)
            if context is None:
                continue
            group = [
                returns[other_number]
                for other_number, other in enumerate(rows)
                if other["task_id"] == row["task_id"] and last_states(rows, other, level) == context
            ]
            advantage = normalized(returns[number], group, settings.normalization, settings.epsilon, ddof=0)
            counts = differ(group) if settings.counting_levels == "different_returns" else advantage != 0
            if counts:
                advantages_and_weights.append((advantage, (level + offset) ** settings.alpha))
        total = sum(weight for _, weight in advantages_and_weights)
        weighted = sum(weight * advantage for advantage, weight in advantages_and_weights)
        result.append(weighted / (total + settings.weight_epsilon) if advantages_and_weights else 0.0)
    return result
