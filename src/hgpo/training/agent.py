"""The agent of a run, and how many tokens its prompts and answers need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hgpo.agents.language import LanguageAgent
from hgpo.envs.base import TaskSuite
from hgpo.errors import SettingError
from hgpo.gateway.suite import AgentSuite
from hgpo.policies.transformers import TransformersPolicy
from hgpo.random_streams import PROBE, RandomStreams
from hgpo.rollouts.prompts import RESPONSE_FORMATS, Turn, choices
from hgpo.rollouts.token_lengths import answer_tokens_needed, prompt_tokens_needed, random_turns
from hgpo.training.config import TrainConfig
from hgpo.training.tasks import training_tasks

if TYPE_CHECKING:
    from hgpo.gateway.agent import GatewayAgent

    TrainedAgent = LanguageAgent | GatewayAgent
    """The agent of a run."""

RESPONSE_TOKENS = 512
"""Longest response of an agent of one's own, if the settings name none."""
GAMES = 12
"""Number of tasks that are played at random to estimate token lengths."""


def turns_of_random_play(config: TrainConfig, suite: TaskSuite) -> list[Turn]:
    """The turns of a few training tasks that are played at random; token lengths are estimated from them.

    There are none for an agent with an environment of its own.

    Args:
        config: the run's settings.
        suite: the environment.

    Raises:
        SettingError: if the environment fails in every task.
    """
    if isinstance(config.env, AgentSuite):
        return []
    tasks = training_tasks(config, GAMES, PROBE)
    return random_turns(suite, tasks, RandomStreams(config.seed).generator(PROBE))


def language_agent(
    config: TrainConfig, policy: TransformersPolicy, turns: Sequence[Turn] | None = None
) -> LanguageAgent:
    """The agent of a run with these settings and this policy.

    Args:
        config: the run's settings.
        policy: the model.
        turns: `turns_of_random_play`, if the caller has them; otherwise they are played if they are needed.
    """
    response_format = RESPONSE_FORMATS[config.response]
    max_response_tokens = config.max_response_tokens
    if max_response_tokens is None:
        played = turns_of_random_play(config, config.playing_suite()) if turns is None else turns
        max_response_tokens = answer_tokens_needed(played, policy.chat.encode_answer, response_format)
    return LanguageAgent(
        policy,
        response_format,
        prompt_history=config.prompt_history,
        max_prompt_tokens=config.max_prompt_tokens,
        max_response_tokens=max_response_tokens,
        constrained=config.constrain_answers,
    )


def agent_of_run(
    config: TrainConfig,
    policy: TransformersPolicy,
    turns: Sequence[Turn] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> TrainedAgent:
    """The agent of a run with these settings and this policy: the built-in one, or the user's own.

    Args:
        config, policy, turns: as in `language_agent`.
        say: called with a line of text for the user.
    """
    if not isinstance(config.env, AgentSuite):
        return language_agent(config, policy, turns)
    # Only an agent of the user's own needs the packages of a server.
    from hgpo.gateway.agent import GatewayAgent

    return GatewayAgent(
        config.env,
        policy,
        policy.chat,
        max_prompt_tokens=config.max_prompt_tokens,
        max_response_tokens=config.max_response_tokens or RESPONSE_TOKENS,
        settings=config.gateway,
        say=say,
    )


def require_prompt_room(config: TrainConfig, policy: TransformersPolicy, turns: Sequence[Turn]) -> None:
    """Check that the history set by --prompt-history fits into a prompt.

    Raises:
        SettingError: if it does not fit.
    """
    response_format = RESPONSE_FORMATS[config.response]
    needed = prompt_tokens_needed(turns, policy.encode, response_format, config.prompt_history)
    if needed > config.max_prompt_tokens:
        raise SettingError(
            f"--prompt-history {config.prompt_history} needs prompts of up to {needed} tokens in these "
            f"tasks, but --max-prompt-tokens is {config.max_prompt_tokens}: lower one or raise the other"
        )


def require_listed_commands(config: TrainConfig, turns: Sequence[Turn]) -> None:
    """Check that answers can be restricted to the listed commands, if --constrain-answers is given.

    Raises:
        SettingError: if the agent chooses words of its own for a command.
    """
    if config.constrain_answers:
        for turn in turns:
            choices(RESPONSE_FORMATS[config.response], turn.commands)
