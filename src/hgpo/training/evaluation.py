"""Evaluation of a run's agent on the held-out splits."""

from __future__ import annotations

from hgpo.agents.language import LanguageAgent
from hgpo.random_streams import EVALUATION
from hgpo.rollouts.evaluate import PanelResult, evaluate_panel
from hgpo.training.context import RunContext


def evaluate_splits(run: RunContext, agent: LanguageAgent) -> list[PanelResult]:
    """The results on every held-out split, greedy and sampled."""
    config = run.config
    results = []
    for split in config.env.splits[1:]:
        for temperature in (0.0, config.evaluation_temperature):
            with run.display.phase(split) as advance:
                result = evaluate_panel(
                    config.env,
                    agent,
                    split,
                    temperature=temperature,
                    seed=[config.seed, EVALUATION],
                    games=config.evaluation_games,
                    on_step=lambda finished, live, advance=advance: advance(finished, finished + live),
                    timeout=run.timeout,
                    crew=run.crew,
                )
            results.append(result)
    return results
