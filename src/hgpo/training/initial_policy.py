"""The policy that a run starts with: a given model with or without an adapter, or one made from scratch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hgpo.envs.commands import random_command
from hgpo.policies.loading import load_policy, load_with_new_adapter
from hgpo.policies.tiny import create_policy
from hgpo.policies.transformers import TransformersPolicy
from hgpo.random_streams import PHRASES, WEIGHTS
from hgpo.rollouts.prompts import RESPONSE_FORMATS, Turn
from hgpo.training.context import RunContext

MAX_COMMANDS = 60
"""The highest command number for which a model made from scratch has a token."""
MAX_STEPS = 100
"""The highest step number for which a model made from scratch has tokens, if prompts contain the number."""


def initial_policy(run: RunContext) -> TransformersPolicy:
    """The policy before any training.

    Raises:
        SettingError: if there is no such model, or if the adapter does not fit it.
    """
    config, seed = run.config, run.streams.integer(WEIGHTS)
    if config.model is not None and config.lora.rank:
        return load_with_new_adapter(config.model, run.compute, config.lora, seed=seed)
    if config.model is not None:
        return load_policy(config.model, run.compute)
    prompt, rng = RESPONSE_FORMATS[config.response].prompt, run.streams.generator(PHRASES)
    turns = [Turn("", (("", ""),), "", (), step) for step in range(1, MAX_STEPS)]
    return create_policy(
        [*map(prompt, turns), *config.env.texts()],
        config.tiny,
        max_tokens=config.max_prompt_tokens + (config.max_response_tokens or 32),
        max_commands=MAX_COMMANDS,
        seed=seed,
        prompts=[prompt(_with_history(turn, config.prompt_history, rng)) for turn in run.turns],
        compute=run.compute,
    )


def _with_history(turn: Turn, length: int, rng: np.random.Generator) -> Turn:
    """The turn with a full history, in which every step has the same observation and a random command."""
    if not turn.commands:
        return turn
    command = random_command(turn.commands, turn.instruction, rng)
    return replace(turn, history=((turn.observation, command),) * length)
