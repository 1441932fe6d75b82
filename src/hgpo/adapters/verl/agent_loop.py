"""The agent loop: verl's model plays an episode, and every step becomes a separate row."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from omegaconf import OmegaConf
from transformers import AutoConfig, GenerationConfig
from verl.experimental.agent_loop.agent_loop import (
    AgentLoopBase,
    AgentLoopMetrics,
    AgentLoopOutput,
    register,
)
from verl.utils.fs import copy_to_local

from hgpo.adapters.episodes import Reply
from hgpo.adapters.step_records import episode_records
from hgpo.adapters.task_stream import TaskReference
from hgpo.adapters.verl.environments import EnvironmentPool, Episode, ProcessLost, open_pool
from hgpo.adapters.verl.rows import StepRow
from hgpo.adapters.verl.settings import StepwiseSettings
from hgpo.envs.episode import EnvironmentFault, Transition
from hgpo.policies.base import Completion
from hgpo.policies.tokens import ChatTokenizer, end_tokens
from hgpo.rollouts.episodes import turn_at
from hgpo.rollouts.prompts import RESPONSE_FORMATS, fit_prompts

logger = logging.getLogger(__name__)

NAME = "hgpo"
"""Name of the agent loop in a configuration."""


@dataclass
class _Clock:
    """Seconds of a trajectory spent on generation and in the environment."""

    answers: float = 0.0
    steps: float = 0.0


@register(NAME)
class StepwiseAgentLoop(AgentLoopBase):
    """Plays one rollout of a task; verl creates one object per rollout."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings, self.pool = _of_this_process(OmegaConf.to_yaml(self.config.hgpo, resolve=True))
        self.response_format = RESPONSE_FORMATS[self.settings.response]
        model = self.config.actor_rollout_ref.model
        self.chat = _chat_of_this_process(
            self.tokenizer,
            model.get("hf_config_path") or model.path,
            model.get("trust_remote_code", False),
            OmegaConf.to_yaml(self.apply_chat_template_kwargs or {}, resolve=True),
        )

    tokenizer: Any

    # verl also accepts a list, although its base class does not say so.
    async def run(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, sampling_params: dict[str, Any], **kwargs: Any
    ) -> list[AgentLoopOutput]:
        """The rows of the trajectory, in the order of its steps; none if the trajectory was dropped.

        Args:
            sampling_params: verl's sampling parameters; the response length is added.
            kwargs: the columns of the dataset's row, including verl's uid and session_id.
        """
        trajectory = f"{kwargs['uid']}_{kwargs['session_id']}"
        reference = TaskReference(**kwargs["task_reference"])
        sampling = {**sampling_params, "max_tokens": self.rollout_config.response_length}
        for restart in range(self.settings.environment_retries + 1):
            try:
                async with self.pool.episode(f"{trajectory}/{restart}") as episode:
                    clock = _Clock()
                    played = await self._play(episode, reference, trajectory, sampling, clock)
                return self._rows(played, kwargs["uid"], trajectory, restart, clock)
            except ProcessLost as lost:
                logger.warning("trajectory %s lost its environment process: %s", trajectory, lost)
            except EnvironmentFault as fault:
                logger.warning("trajectory %s is dropped: %s", trajectory, fault)
                return []
        logger.warning("trajectory %s is dropped", trajectory)
        return []

    async def _play(
        self,
        episode: Episode,
        reference: TaskReference,
        trajectory: str,
        sampling: Mapping[str, Any],
        clock: _Clock,
    ) -> list[Transition[Reply]]:
        began = time.perf_counter()
        task, now = await episode.start(reference)
        clock.steps += time.perf_counter() - began
        played: list[Transition[Reply]] = []
        while not now.over:
            turn = turn_at(task, played, now, self.settings.prompt_history)
            (prompt,) = fit_prompts(
                [turn], self.response_format, self.chat.encode, self.rollout_config.prompt_length
            )
            began = time.perf_counter()
            output = await self.server_manager.generate(
                request_id=trajectory,
                prompt_ids=list(prompt),
                sampling_params={**sampling, "stop_token_ids": list(self.chat.ends)},
            )
            answered = time.perf_counter()
            (answer,) = self.chat.answers([output.token_ids])
            action = self.response_format.parse(answer, turn.commands)
            before, now = now, await episode.step(action.command)
            clock.answers += answered - began
            clock.steps += time.perf_counter() - answered
            # verl gets the tokens and log-probabilities of its TokenOutput back unchanged.
            reply = Reply(action, Completion.of_answer(answer), prompt, output)
            played.append(Transition(before, action.command, now, reply))
        return played

    def _rows(
        self, played: list[Transition[Reply]], uid: str, trajectory: str, restart: int, clock: _Clock
    ) -> list[AgentLoopOutput]:
        records = episode_records(played, task=uid, trajectory=trajectory)
        # verl reports the last row of a validation episode.
        end = records[-1]
        report = {"acc": float(end.won), **({} if end.score is None else {"score": end.score})}
        rows = []
        for step, record in zip(played, records, strict=True):
            row = StepRow(**vars(record), restarts=restart)
            tokens, logprobs, mask = self._response(step.decision.output)
            rows.append(
                AgentLoopOutput(
                    prompt_ids=list(step.decision.prompt),
                    response_ids=tokens,
                    response_mask=mask,
                    response_logprobs=logprobs,
                    # verl gives all rows the value of the last one, so it is the trajectory's.
                    reward_score=record.total,
                    num_turns=len(played),
                    metrics=AgentLoopMetrics(generate_sequences=clock.answers, tool_calls=clock.steps),
                    extra_fields={
                        **step.decision.output.extra_fields,
                        **row.as_field(),
                        "reward_extra_info": report,
                    },
                )
            )
        return rows

    def _response(self, output: Any) -> tuple[list[int], list[float] | None, list[int]]:
        """Tokens up to and including the first end token, with log-probabilities and mask.

        A row needs at least one token; a token that was not sampled is masked.
        """
        length = self.chat.length(output.token_ids)
        logprobs = output.log_probs
        if length:
            return output.token_ids[:length], None if logprobs is None else logprobs[:length], [1] * length
        return [next(iter(self.chat.ends), 0)], None if logprobs is None else [0.0], [0]


@lru_cache(maxsize=1)
def _of_this_process(section: str) -> tuple[StepwiseSettings, EnvironmentPool]:
    """Settings and pool, made once per process, because verl makes an agent loop for every rollout."""
    settings = StepwiseSettings.of(OmegaConf.to_container(OmegaConf.create(section)))  # pyright: ignore
    return settings, open_pool(settings)


@lru_cache(maxsize=1)
def _chat_of_this_process(
    tokenizer: Any, path: str, trust_remote_code: bool, arguments: str
) -> ChatTokenizer:
    """The tokenizer with the end tokens from the model's files, made once per process.

    Args:
        tokenizer: the model's tokenizer.
        path: the path of the model's configuration, in any form that verl accepts.
        trust_remote_code: whether the configuration may contain code.
        arguments: arguments for the chat template, as YAML.
    """
    source = copy_to_local(path)
    configurations: list[Any] = []
    with suppress(OSError):
        configurations.append(GenerationConfig.from_pretrained(source))
    with suppress(OSError):
        configuration = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
        configurations += [configuration, configuration.get_text_config()]
    given: Any = OmegaConf.to_container(OmegaConf.create(arguments))
    return ChatTokenizer(tokenizer, end_tokens(tokenizer, *configurations), given)
