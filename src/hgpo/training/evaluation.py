"""Evaluation of a run's agent on the held-out splits."""

from __future__ import annotations

from hgpo.random_streams import EVALUATION
from hgpo.rollouts.agent import Agent, PlayingAgent
from hgpo.rollouts.evaluate import SplitResult, evaluate_split
from hgpo.training.context import RunContext


def evaluate_splits(run: RunContext, agent: Agent | PlayingAgent) -> list[SplitResult]:
    """The results on every held-out split, greedy and sampled."""
    config = run.config
    results = []
    for split in config.env.splits[1:]:
        for temperature in (0.0, config.evaluation_temperature):
            with run.display.phase(split) as advance:
                result = evaluate_split(
                    run.suite,
                    agent,
                    split,
                    temperature=temperature,
                    seed=[config.seed, EVALUATION],
                    count=config.evaluation_tasks,
                    on_step=lambda finished, live, advance=advance: advance(finished, finished + live),
                    timeout=run.timeout,
                    processes=run.processes,
                    batching=config.rollout_batching,
                )
            results.append(result)
    return results
