"""What an iteration of `hgpo train` costs on the household games, and what other ways of doing it cost.

    python benchmarks/training.py [--repeats 5] [--run FOLDER] [--iterations 10] [--threads N]

In one run, on the same games and the same agent, that of a short run or of the run in FOLDER:

parts        CPU seconds (user and system, all threads) of rollout, advantages and update, median over the
             iterations that are run from there
rollout      ours against a plain loop, whose episodes must come out equal, and against the same loop as ours
             with `generate` of transformers
update       the gradient of all rows, ours against a plain loop and against TRL's GRPOTrainer, where TRL is
             installed. The plain loop's gradient must agree. "subsampled" is ours as `hgpo train` has it

`benchmarks/training_alternatives.py` says what the others do. All take turns; what is told is the median.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from training_alternatives import TrlStep, gradient_of, plain_rollout, plain_update, stock_rollout
from typing_extensions import override

from hgpo.policies.gradients import add_gradients
from hgpo.policies.readers import PackedBatch
from hgpo.rollouts.rollout import rollout, step_table
from hgpo.steps import StepTable
from hgpo.training.batch import UpdateBatch, merge_rows, subsample
from hgpo.training.config import TrainConfig, load_config
from hgpo.training.rollout_source import Rollouts
from hgpo.training.trainer import Trainer
from hgpo.training.update import loss_terms


@dataclass(frozen=True)
class Cost:
    """What something took."""

    wall: float
    """Seconds that passed."""
    cpu: float
    """Seconds of all threads, user and system."""


def cost_of(function: Callable[[], Any]) -> tuple[Cost, Any]:
    """What a call took, and what it returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = function()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu), value


def median_of(costs: list[Cost]) -> Cost:
    """The median of each kind of seconds."""
    return Cost(median(cost.wall for cost in costs), median(cost.cpu for cost in costs))


def in_turns(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[Cost, Any]]:
    """What each way takes, and what its last call returned; they take turns, as a machine's load changes."""
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    values: dict[str, Any] = {}
    for _ in range(repeats):
        for name, way in ways.items():
            cost, values[name] = cost_of(way)
            costs[name].append(cost)
    return {name: (median_of(costs[name]), values[name]) for name in ways}


class MeasuredTrainer(Trainer):
    """A trainer that notes what each part of an iteration takes."""

    costs: dict[str, list[Cost]]
    """By the part's name, one per iteration."""

    @override
    def _iterate(self) -> None:
        inner = len(self.costs["rollout"])
        whole, _ = cost_of(super()._iterate)
        parts = [self.costs["rollout"][inner], self.costs["update"][inner]]
        rest = Cost(whole.wall - sum(p.wall for p in parts), whole.cpu - sum(p.cpu for p in parts))
        self.costs["advantages and the rest"].append(rest)
        self.costs["all"].append(whole)

    @override
    def _rollout(self) -> Rollouts:
        cost, rollouts = cost_of(super()._rollout)
        self.costs["rollout"].append(cost)
        return rollouts

    @override
    def _update(self, steps: StepTable, advantages: np.ndarray) -> dict[str, float]:
        cost, metrics = cost_of(lambda: super(MeasuredTrainer, self)._update(steps, advantages))
        self.costs["update"].append(cost)
        return metrics


def trained(arguments: argparse.Namespace, folder: Path) -> MeasuredTrainer:
    """A trainer after its iterations, in a folder of its own."""
    config = TrainConfig(tasks_per_iteration=arguments.tasks, group_size=arguments.group_size)
    done = 0
    if arguments.run:
        shutil.copytree(arguments.run, folder)
        config = load_config(folder / "config.json")
        done = max(int(checkpoint.name) for checkpoint in (folder / "checkpoints").iterdir())
    # Nothing is measured but iterations.
    config = replace(
        config,
        iterations=done + arguments.iterations,
        evaluation_tasks=1,
        evaluate_every=0,
        sample_every=0,
        checkpoint_every=10**6,
        threads=arguments.threads,
    )
    trainer = MeasuredTrainer(config, folder)
    trainer.costs = {name: [] for name in ("rollout", "update", "advantages and the rest", "all")}
    trainer.run()
    return trainer


def our_update(trainer: Trainer, batch: UpdateBatch) -> torch.Tensor:
    """The gradient as the trainer computes it."""
    policy = trainer.state.policy
    policy.model.zero_grad()
    settings = trainer.config
    parameters = [p for p in policy.model.parameters() if p.requires_grad]

    def loss_of(packed: PackedBatch) -> tuple[torch.Tensor, None]:
        terms = loss_terms(
            policy, trainer.state.reference, settings.loss, batch, packed, settings.temperature
        )
        return terms.total / batch.total_tokens, None

    packed_batches = policy.packed_batches(batch.prompts, batch.responses)
    for _ in add_gradients(policy.compute, parameters, packed_batches, loss_of):
        pass
    return gradient_of(policy.model)


def print_parts(trainer: MeasuredTrainer) -> None:
    """The table of an iteration's parts."""
    records = trainer.log.read_metrics()[-len(trainer.costs["all"]) :]
    episodes = trainer.config.tasks_per_iteration * trainer.config.group_size
    success = [record["success_rate"] for record in records]
    print(
        f"\n{len(records)} iterations up to number {records[-1]['iteration']}, {episodes} episodes each, "
        f"success rate {min(success):.2f} to {max(success):.2f}, "
        f"{median(record['environment_steps'] for record in records):,.0f} steps, "
        f"{median(record['prompt_tokens_mean'] for record in records):.0f} tokens per prompt\n"
    )
    print("| part of an iteration | CPU seconds | seconds |\n|---|---:|---:|")
    for name, costs in trainer.costs.items():
        cost = median_of(costs)
        print(f"| {name} | {cost.cpu:.2f} | {cost.wall:.2f} |")


def print_ways(title: str, found: dict[str, tuple[Cost, Any]], steps: dict[str, int]) -> None:
    """The table of several ways to do the same, compared with the first one per environment step."""
    print(f"\n| {title} | steps | CPU seconds | seconds | CPU, ratio | time, ratio |")
    print("|---|---:|---:|---:|---:|---:|")
    (ours, _), first = next(iter(found.values())), next(iter(steps.values()))
    for name, (cost, _) in found.items():
        share = first / steps[name]
        print(
            f"| {name} | {steps[name]:,} | {cost.cpu:.2f} | {cost.wall:.2f} "
            f"| {cost.cpu * share / ours.cpu:.1f} | {cost.wall * share / ours.wall:.1f} |"
        )


def compare_rollouts(trainer: Trainer, arguments: argparse.Namespace) -> StepTable:
    """Print what rollouts take; the steps of ours."""
    tasks = list(trainer.config.env.tasks("train", arguments.tasks, seed=7))
    size = arguments.group_size

    def ours() -> list:
        # A rollout of training begins with other weights than the one before.
        trainer.state.engine.synchronize()
        temperature = trainer.config.temperature
        return rollout(
            trainer.config.env, trainer.state.agent, tasks, group_size=size, temperature=temperature, seed=[1]
        )

    found = in_turns(
        {
            "ours": ours,
            "plain loop": lambda: plain_rollout(trainer, tasks, size, [1]),
            "transformers.generate": lambda: stock_rollout(trainer, tasks, size, [1]),
        },
        arguments.repeats,
    )
    trajectories, plain, stock = (value for _, value in found.values())
    mine = [(t.won, [step.command for step in t.steps]) for t in trajectories]
    count = sum(len(t.steps) for t in trajectories)
    print_ways(
        "rollout",
        found,
        {"ours": count, "plain loop": count, "transformers.generate": sum(len(t.steps) for t in stock)},
    )
    equal = sum(a == b for a, b in zip(mine, plain, strict=True)) / len(mine)
    print(f"\n{equal:.1%} of the plain loop's episodes are equal to ours")
    return step_table(trajectories, policy_version=0)


def compare_updates(trainer: Trainer, steps: StepTable, arguments: argparse.Namespace, folder: Path) -> None:
    """Print what the gradient of these steps takes."""
    config = trainer.config
    advantages = config.estimator(steps)
    merged = merge_rows(steps, advantages)
    kept = merge_rows(steps, subsample(advantages, config.subsample_below, np.random.default_rng(0)))
    ways: dict[str, Callable[[], Any]] = {
        "ours, subsampled": lambda: our_update(trainer, kept),
        "ours": lambda: our_update(trainer, merged),
        "plain loop": lambda: plain_update(trainer, steps, advantages),
    }
    if find_spec("trl") is not None:
        trl = TrlStep(trainer, rows_at_once=64, folder=folder / "trl")
        ways["TRL's GRPOTrainer"] = lambda: trl(steps, advantages)
    found = in_turns(ways, arguments.repeats)
    print_ways("update", found, dict.fromkeys(found, len(steps)))
    mine = found["ours"][1]
    for name in list(found)[2:]:
        distance = float((found[name][1] - mine).norm() / mine.norm())
        print(f"\nthe gradient of {name} is {distance:.0e} of its length away from ours")
    packed = list(trainer.state.policy.packed_batches(merged.prompts, merged.responses))
    padding = 1 - sum(part.read for part in packed) / sum(part.padded for part in packed)
    print(f"\npadding in our update: {padding:.1%} of what is read")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--group-size", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=10, help="whose parts are measured")
    parser.add_argument("--threads", type=int, help="one a core by default")
    parser.add_argument("--run", type=Path, help="of whose last checkpoint the agent is; it is copied")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        trainer = trained(arguments, Path(folder) / "run")
        threads = trainer.context.compute.threads
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {threads} threads")
        print_parts(trainer)
        # The other ways have PyTorch's threads, as many as ours has.
        torch.set_num_threads(threads)
        steps = compare_rollouts(trainer, arguments)
        compare_updates(trainer, steps, arguments, Path(folder))


if __name__ == "__main__":
    main()
