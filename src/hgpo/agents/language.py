"""An agent that plays with a language model: turns become prompts, and completions become actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from hgpo.errors import SettingError
from hgpo.policies.base import Completion, CompletionStream, Policy, RestrictablePolicy, StreamingPolicy
from hgpo.policies.streams import AnsweredTogether, Request
from hgpo.rollouts.agent import DecisionStream, Situation
from hgpo.rollouts.episodes import Decision, Failure
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
        requests = self.requests(situations)
        prompts = [request.prompt for request in requests]
        uniforms = np.stack([request.uniforms for request in requests])
        if self.constrained and isinstance(self.policy, RestrictablePolicy):
            listed = [request.choices or () for request in requests]
            completions = self.policy.generate_among(prompts, uniforms, temperature, listed)
        else:
            completions = self.policy.generate(prompts, uniforms, temperature)
        return list(map(self.decision, situations, prompts, completions))

    @contextmanager
    def stream(self, temperature: float) -> Iterator[DecisionStream]:
        """See `StreamingAgent.stream`."""
        if isinstance(self.policy, StreamingPolicy):
            with self.policy.stream(temperature) as completions:
                yield _Decisions(self, completions)
        else:
            yield AnsweredTogether(partial(self.act, temperature=temperature))

    def requests(self, situations: Sequence[Situation]) -> list[Request[tuple[str, ...]]]:
        """What the policy is asked in each situation, with random numbers from the episode's own stream."""
        prompts = fitted_prompts(
            situations,
            self.policy.encode,
            self.response_format,
            self.prompt_history,
            self.max_prompt_tokens,
        )
        return [
            Request(
                prompt,
                situation.rng.random(self.max_response_tokens),
                choices(self.response_format, situation.commands) if self.constrained else None,
            )
            for situation, prompt in zip(situations, prompts, strict=True)
        ]

    def decision(self, situation: Situation, prompt: tuple[int, ...], completion: Completion) -> Decision:
        """What a completion of the situation's prompt decides."""
        action = self.response_format.parse(completion.answer, situation.commands)
        return Decision(action, completion, prompt)


class _Decisions:
    """The stream of an agent, made from that of its policy."""

    def __init__(self, agent: LanguageAgent, completions: CompletionStream) -> None:
        self._agent, self._completions = agent, completions
        self._asked: dict[int, tuple[Situation, tuple[int, ...]]] = {}

    def add(self, items: Sequence[Situation]) -> list[int]:
        requests = self._agent.requests(items)
        numbers = self._completions.add(requests)
        for number, situation, request in zip(numbers, items, requests, strict=True):
            self._asked[number] = situation, request.prompt
        return numbers

    def advance(self) -> list[tuple[int, Decision | Failure]]:
        return [
            (number, self._agent.decision(*self._asked.pop(number), completion))
            for number, completion in self._completions.advance()
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
