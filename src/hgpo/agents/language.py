"""An agent that plays with a language model: turns become prompts, and completions become actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hgpo.errors import SettingError
from hgpo.policies.base import Policy, RestrictablePolicy
from hgpo.rollouts.agent import Situation
from hgpo.rollouts.episodes import Decision
from hgpo.rollouts.prompts import ResponseFormat, choices, fit_prompts, require_choices


@dataclass(frozen=True)
class LanguageAgent:
    """A policy, with its response format and its prompt settings."""

    policy: Policy
    """The language model."""
    response_format: ResponseFormat
    """How commands are listed in the prompt, and how answers are parsed."""
    prompt_history: int
    """K: number of past steps that the prompt shows."""
    max_prompt_tokens: int
    """Longest prompt in tokens; longer prompts lose their oldest steps."""
    max_response_tokens: int
    """Longest response in tokens."""
    constrained: bool = False
    """Whether responses are restricted to those that name a listed command."""

    def __post_init__(self) -> None:
        if self.constrained:
            require_choices(self.response_format)
            if not isinstance(self.policy, RestrictablePolicy):
                name = type(self.policy).__name__
                raise SettingError(f"{name} cannot restrict its answers: leave out --constrain-answers")

    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        """One completion per situation, all in one call of the policy (see `Agent.act`)."""
        prompts = fitted_prompts(
            situations,
            self.policy.encode,
            self.response_format,
            self.prompt_history,
            self.max_prompt_tokens,
        )
        uniforms = np.stack([situation.rng.random(self.max_response_tokens) for situation in situations])
        if self.constrained and isinstance(self.policy, RestrictablePolicy):
            listed = [choices(self.response_format, situation.commands) for situation in situations]
            completions = self.policy.generate_among(prompts, uniforms, temperature, listed)
        else:
            completions = self.policy.generate(prompts, uniforms, temperature)
        return [
            Decision(self.response_format.parse(completion.answer, situation.commands), completion, prompt)
            for situation, prompt, completion in zip(situations, prompts, completions, strict=True)
        ]


def fitted_prompts(
    situations: Sequence[Situation],
    encode: Callable[[Sequence[str]], list[tuple[int, ...]]],
    response_format: ResponseFormat,
    prompt_history: int,
    max_tokens: int,
) -> list[tuple[int, ...]]:
    """The tokens of the prompt of each situation; arguments as in `LanguageAgent` and `fit_prompts`."""
    # In a task group many turns are equal, so each distinct one is tokenized only once.
    turns = [situation.turn(prompt_history) for situation in situations]
    distinct = list(dict.fromkeys(turns))
    fitted = fit_prompts(distinct, response_format, encode, max_tokens)
    prompt_of = dict(zip(distinct, fitted, strict=True))
    return [prompt_of[turn] for turn in turns]
