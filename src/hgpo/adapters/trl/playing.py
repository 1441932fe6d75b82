"""An agent that plays with the model of a trainer, by the trainer's own generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hgpo.agents.language import fitted_prompts
from hgpo.policies.base import Completion
from hgpo.policies.tokens import ChatTokenizer
from hgpo.rollouts.agent import Situation
from hgpo.rollouts.episodes import Decision
from hgpo.rollouts.prompts import ResponseFormat

Sample = Callable[[list[list[int]]], tuple[list[list[int]], list[list[float]] | None]]
"""Answers one prompt each: the tokens, and their log-probabilities if the generation reports them."""


class SamplingAgent:
    """Plays episodes with a trainer's model."""

    def __init__(
        self,
        sample: Sample,
        chat: ChatTokenizer,
        response_format: ResponseFormat,
        *,
        prompt_history: int,
        max_prompt_tokens: int,
    ) -> None:
        """Store the parts; `prompt_history` and `max_prompt_tokens` as in `LanguageAgent`."""
        self._sample, self._chat, self._format = sample, chat, response_format
        self._history, self._longest = prompt_history, max_prompt_tokens

    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        """One answer per situation (see `Agent.act`); the trainer's arguments set the temperature."""
        del temperature
        prompts = fitted_prompts(situations, self._chat.encode, self._format, self._history, self._longest)
        sampled, logprobs = self._sample([list(prompt) for prompt in prompts])
        tokens = [row[: self._chat.length(row)] for row in sampled]
        known = [()] * len(tokens) if logprobs is None else logprobs
        completions = [
            Completion(np.array(row, np.int64), np.array(of_row[: len(row)], np.float32), answer)
            for row, of_row, answer in zip(tokens, known, self._chat.answers(tokens), strict=True)
        ]
        return [
            Decision(self._format.parse(completion.answer, situation.commands), completion, prompt)
            for situation, prompt, completion in zip(situations, prompts, completions, strict=True)
        ]
