"""The content of a page as JSON values: curves, and task groups as graphs with every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.analysis.credit import against_comparison
from hgpo.estimators import Comparison, Estimator
from hgpo.report.tokens import TokenReader
from hgpo.rollout_files import read_rollouts
from hgpo.rollout_files.shown import LONG
from hgpo.runs.folder import RunLog
from hgpo.steps import StepTable
from hgpo.training.config import TrainConfig, to_json

TASKS_SHOWN = 4
"""Number of task groups in a report. Those with the largest spread of advantages are chosen."""
HISTOGRAM_BINS = 41
LOGPROB_DIGITS = 3


@dataclass(frozen=True)
class SampledRollouts:
    """The rollouts of one iteration with the advantages and groups that the estimator computes from them."""

    iteration: int
    steps: StepTable
    advantages: NDArray[np.float64]
    comparison: Comparison

    @classmethod
    def of(cls, iteration: int, steps: StepTable, estimator: Estimator) -> SampledRollouts:
        """The rollouts under an estimator; ValueError if it cannot compute their advantages."""
        return cls(iteration, steps, estimator(steps), estimator.comparison(steps))

    @cached_property
    def against(self) -> NDArray[np.bool_]:
        """Which rows have an advantage that contradicts every comparison, [rows]."""
        return against_comparison(self.steps, self.comparison, self.advantages)

    @cached_property
    def peers(self) -> list[NDArray[np.int64]]:
        """The number of peers of each row, [rows], for each level."""
        return [level.peer_counts() for level in self.comparison.levels]


def report_data(config: TrainConfig, log: RunLog, reader: TokenReader) -> dict[str, Any]:
    """All data that the report shows.

    Args:
        config: the run's settings.
        log: the run's folder.
        reader: turns token ids into text.
    """
    sample = latest_sample(config, log.folder / "samples")
    return run_data(config, log) | {"sample": None if sample is None else sample_data(sample, reader)}


def run_data(config: TrainConfig, log: RunLog) -> dict[str, Any]:
    """A run's name, settings, metrics and evaluations."""
    evaluations = log.read_evaluations()
    return {
        "name": log.folder.name,
        "settings": _flat(to_json(config)),
        "metrics": log.read_metrics(),
        "evaluations": evaluations,
        # Evaluations of older versions do not name the suite.
        "suite": evaluations[-1].get("suite") if evaluations else None,
    }


def sampled_files(folder: Path) -> list[Path]:
    """The files of rollouts that a run has written to a folder, in the order of iterations."""
    # The folder may hold other files, such as the output of `hgpo advantages`.
    return sorted(file for file in folder.glob("*.parquet") if file.stem.isdigit())


def latest_sample(config: TrainConfig, folder: Path) -> SampledRollouts | None:
    """The last rollouts that the run kept as a sample; None if it kept none."""
    files = sampled_files(folder)
    if not files:
        return None
    return SampledRollouts.of(int(files[-1].stem), read_rollouts(files[-1]).steps, config.estimator)


def sample_data(sample: SampledRollouts, reader: TokenReader) -> dict[str, Any]:
    """The sample's distribution of advantages, and some of its task groups."""
    tasks = np.unique(sample.steps.task_code)
    spread = [float(sample.advantages[sample.steps.task_code == task].std()) for task in tasks]
    shown = tasks[np.argsort(spread)[::-1][:TASKS_SHOWN]]
    counts, edges = np.histogram(sample.advantages, HISTOGRAM_BINS)
    long = {name: column for name in LONG if (column := getattr(sample.steps, name, None)) is not None}

    def whole_task(task: int) -> dict[str, Any]:
        data = task_data(sample, task)
        rows = rows_of_task(sample.steps, task)
        answers = long_data({name: [column[row] for row in rows] for name, column in long.items()}, reader)
        return data | {"answers": answers}

    return {
        "iteration": sample.iteration,
        "pooled": sample.comparison.pooled,
        "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
        "levels": levels_data(sample),
        "tasks": [whole_task(int(task)) for task in shown],
    }


def levels_data(sample: SampledRollouts) -> list[dict[str, Any]]:
    """Each level's name, what the rows of its groups have in common, and how large they are."""
    return [
        {"name": level.name, "meaning": level.meaning, "sizes": group_sizes(level.groups)}
        for level in sample.comparison.levels
    ]


def long_data(columns: Mapping[str, Sequence[Any]], reader: TokenReader) -> dict[str, list[Any]]:
    """What the agent read and answered in some rows, with one value per row in each list.

    Args:
        columns: those of `LONG` that exist; each has one value per row.
        reader: turns token ids into text.

    Returns:
        "prompt" and "response", texts; "pieces", the text of each token of the response, and "logprobs".
        Only what the columns give. Each distinct prompt is listed once, in "prompts", and "prompt" has its
        number there.
    """
    found: dict[str, list[Any]] = {}
    if "prompt" in columns:
        found["prompt"] = [str(text) for text in columns["prompt"]]
    elif "prompt_tokens" in columns:
        found["prompt"] = [reader.text([int(token) for token in row]) for row in columns["prompt_tokens"]]
    if "response_tokens" in columns:
        tokens = [[int(token) for token in row] for row in columns["response_tokens"]]
        found["response"] = [reader.text(row) for row in tokens]
        found["pieces"] = [reader.pieces(row) for row in tokens]
        if "response_logprobs" in columns:
            found["logprobs"] = [
                [round(float(logprob), LOGPROB_DIGITS) for logprob in row]
                for row in columns["response_logprobs"]
            ]
    if "response" in columns:
        found["response"] = [str(text) for text in columns["response"]]
    if "prompt" in found:
        number_of = {text: number for number, text in enumerate(dict.fromkeys(found["prompt"]))}
        found["prompt"] = [number_of[text] for text in found["prompt"]]
        found["prompts"] = list(number_of)
    return found


def group_sizes(groups: NDArray[np.int64]) -> list[list[float]]:
    """[n, fraction of rows whose group has n rows or more] for n = 1, 2, 4, … up to the largest group.

    Args:
        groups: each row's group at one level, -1 where it has none, [rows].
    """
    size_of = np.bincount(groups[groups >= 0], minlength=1)
    sizes = np.where(groups >= 0, size_of[groups], 0)
    steps = 2 ** np.arange(int(sizes.max(initial=1)).bit_length())
    return [[int(n), float((sizes >= n).mean())] for n in steps]


def rows_of_task(steps: StepTable, task: int) -> NDArray[np.int64]:
    """The rows of a task, in the order of trajectories and steps."""
    return steps.time_order[steps.task_code[steps.time_order] == task]


def task_data(sample: SampledRollouts, task: int) -> dict[str, Any]:
    """One task group: its states as a graph, and its trajectories as paths through the graph.

    Rows are numbered within the task, in the order of `rows_of_task`.
    """
    steps, comparison = sample.steps, sample.comparison
    same_action = np.zeros(len(steps), np.int64) if steps.action is None else steps.action_code
    order = rows_of_task(steps, task)
    states, state_of = np.unique(steps.state_code[order], return_inverse=True)
    texts: list[str] = []
    number_of: dict[str, int] = {}

    def text(value: str) -> int:
        """The index of a text; each distinct text is stored once."""
        if value not in number_of:
            number_of[value] = len(texts)
            texts.append(value)
        return number_of[value]

    rows = []
    trajectories: list[dict[str, Any]] = []
    for number, row in enumerate(order):
        if steps.step_index[row] == 0:
            trajectories.append({"id": str(steps.trajectory_id[row]), "rows": []})
        trajectories[-1]["rows"].append(number)
        rows.append(
            {
                "trajectory": len(trajectories) - 1,
                "step": int(steps.step_index[row]),
                "state": int(state_of[number]),
                "observation": text(_cell(steps.observation, row)),
                "action": text(_cell(steps.action, row)),
                "same_action": int(same_action[row]),
                "valid": True if steps.action_valid is None else bool(steps.action_valid[row]),
                "invalid": _cell(steps.invalid_reason, row),
                "reward": float(steps.reward[row]),
                "return": float(comparison.returns[row]),
                "advantage": float(sample.advantages[row]),
                "against": bool(sample.against[row]),
                "groups": [int(level.groups[row]) for level in comparison.levels],
                "peers": [int(counts[row]) for counts in sample.peers],
            }
        )
    for trajectory in trajectories:
        trajectory["reward"] = sum(rows[number]["reward"] for number in trajectory["rows"])
    return {
        "id": str(steps.task_id[order[0]]),
        "texts": texts,
        "rows": rows,
        "trajectories": trajectories,
        "states": _states(rows, len(states)),
        "edges": _edges(rows),
    }


def _states(rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Each state's position in the drawing, its number of visits and its mean advantage."""
    visits: list[list[int]] = [[] for _ in range(count)]
    for number, row in enumerate(rows):
        visits[row["state"]].append(number)
    layers: dict[int, list[int]] = {}
    for state, numbers in enumerate(visits):
        layers.setdefault(min(rows[number]["step"] for number in numbers), []).append(state)
    height: dict[int, float] = {}

    def height_of_origins(state: int) -> float:
        """The mean height of a state's predecessors: if the state is drawn there, few paths cross."""
        origins = [rows[number - 1]["state"] for number in visits[state] if rows[number]["step"] > 0]
        known = [height[origin] for origin in origins if origin in height]
        return sum(known) / len(known) if known else 0.0

    layer_of: dict[int, int] = {}
    for layer, step in enumerate(sorted(layers)):
        ordered = sorted(layers[step], key=lambda state: (height_of_origins(state), state))
        for place, state in enumerate(ordered):
            layer_of[state] = layer
            height[state] = (place + 0.5) / len(ordered)
    return [
        {
            "layer": layer_of[state],
            "height": height[state],
            "visits": len(numbers),
            "advantage": sum(rows[number]["advantage"] for number in numbers) / len(numbers),
            "observation": rows[numbers[0]]["observation"],
        }
        for state, numbers in enumerate(visits)
    ]


def _edges(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The transitions between states, with their counts and the mean advantage of their actions."""
    found: dict[tuple[int, int], list[float]] = {}
    for row, following in pairwise(rows):
        if row["trajectory"] == following["trajectory"]:
            found.setdefault((row["state"], following["state"]), []).append(row["advantage"])
    return [
        {"from": start, "to": end, "count": len(values), "advantage": sum(values) / len(values)}
        for (start, end), values in found.items()
    ]


def _cell(column: NDArray[Any] | None, row: int) -> str:
    return "" if column is None else str(column[row])


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings by their dotted names."""
    flat: dict[str, str] = {}
    for name, inner in value.items():
        if isinstance(inner, dict):
            flat[prefix + name] = str(inner["type"])
            flat |= _flat({k: v for k, v in inner.items() if k != "type"}, f"{prefix}{name}.")
        elif name != "type":
            flat[prefix + name] = str(inner)
    return flat
