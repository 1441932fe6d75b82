"""Training before reinforcement learning: first on texts of random play, then by imitating walkthroughs."""

from __future__ import annotations

from functools import partial
from typing import Any

from hgpo.agents.language import LanguageAgent
from hgpo.envs.base import ReadingSuite
from hgpo.envs.readings import shares_a_word
from hgpo.policies.transformers import TransformersPolicy
from hgpo.random_streams import READING_ORDER, READING_TASKS, WARM_ORDER, WARM_TASKS
from hgpo.training.context import RunContext
from hgpo.training.imitation import demonstrations, imitate, rows_of_play
from hgpo.training.tasks import training_tasks


def read(run: RunContext, policy: TransformersPolicy, agent: LanguageAgent) -> None:
    """Train the policy on texts of random play, according to the settings.

    Args:
        run: the settings.
        policy: changed in place.
        agent: defines the form of prompts and answers.
    """
    settings, suite = run.config.reading, run.config.env
    if settings.tasks == 0 or not isinstance(suite, ReadingSuite):
        return

    def weigh(title: str, command: str) -> float:
        return 1.0 if shares_a_word(command, title) else settings.other_weight

    readings = list(suite.readings(settings.tasks, run.streams.integer(READING_TASKS)))
    rows = [
        row
        for reading in readings
        for row in rows_of_play(
            policy,
            reading.task,
            reading.steps,
            weigh=partial(weigh, reading.task.instruction),
            **_how(agent),
        )
    ]
    if not rows:
        run.display.say(f"reading: random play of {settings.tasks} tasks gave no text")
        return
    with run.display.phase("reading") as advance:
        losses = imitate(policy, rows, settings, run.streams.generator(READING_ORDER), advance, run.processes)
    run.display.say(
        f"reading: {len(rows)} steps of random play in {len(readings)} texts under titles in hindsight, "
        f"cross-entropy {losses[-1]:.2f} nats per token in the last epoch"
    )


def warm_start(run: RunContext, policy: TransformersPolicy, agent: LanguageAgent) -> None:
    """Train the policy to imitate walkthroughs, according to the settings.

    Args:
        run: the settings.
        policy: changed in place.
        agent: defines the form of prompts and answers.
    """
    settings = run.config.warm_start
    if settings.tasks == 0:
        return
    tasks = training_tasks(run.config, settings.tasks, WARM_TASKS)
    rows = demonstrations(run.suite, policy, tasks, **_how(agent))
    with run.display.phase("warm start") as advance:
        losses = imitate(policy, rows, settings, run.streams.generator(WARM_ORDER), advance, run.processes)
    run.display.say(
        f"warm start: imitated {len(rows)} steps of walkthroughs of {settings.tasks} tasks, "
        f"cross-entropy {losses[0]:.2f} → {losses[-1]:.2f} nats per token"
    )


def _how(agent: LanguageAgent) -> dict[str, Any]:
    """The form of an agent's prompts and answers, as keyword arguments of `rows_of_play`."""
    return {
        "response_format": agent.response_format,
        "prompt_history": agent.prompt_history,
        "max_prompt_tokens": agent.max_prompt_tokens,
        "max_response_tokens": agent.max_response_tokens,
    }
