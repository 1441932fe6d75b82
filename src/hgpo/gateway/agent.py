"""An agent of one's own as the agent of a run: it plays episodes, and the policy answers its requests."""

from __future__ import annotations

import resource
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from hgpo.envs.base import Task
from hgpo.envs.faults import no_answer
from hgpo.errors import in_one_line
from hgpo.gateway.exchange import Exchange, LiveEpisode, Pending
from hgpo.gateway.protocol import ChatRequest, Refusal, Written
from hgpo.gateway.results import Call
from hgpo.gateway.server import serving
from hgpo.gateway.settings import GatewaySettings
from hgpo.gateway.suite import AgentSuite, last_seen
from hgpo.gateway.workers import Worker
from hgpo.policies.answers import Answer, read_answer
from hgpo.policies.base import Completion, Policy
from hgpo.policies.templates import template_text
from hgpo.policies.tokens import ChatTokenizer
from hgpo.policies.tool_calls import read_tool_calls
from hgpo.rollouts.episodes import Failure, Trajectory

LONGEST_PAUSE = 1.0
"""Seconds after which episodes are looked at again."""
MOST_FILES = 2**16
"""Limit of open files that a run asks for."""


@dataclass(frozen=True)
class GatewayAgent:
    """Plays tasks with an agent's function, which asks the policy through the gateway."""

    suite: AgentSuite
    """The agent's function and its tasks."""
    policy: Policy
    """Answers the requests."""
    chat: ChatTokenizer
    """The policy's tokenizer."""
    max_prompt_tokens: int
    """Longest prompt in tokens; requests with longer ones are refused."""
    max_response_tokens: int
    """Longest response in tokens."""
    settings: GatewaySettings = field(default_factory=GatewaySettings)
    """Address and limits of the server."""
    say: Callable[[str], None] = lambda line: None
    """Called with a line of text for the user."""
    _told: set[str] = field(default_factory=set)
    """What was said before."""

    def play(
        self,
        tasks: Sequence[Task],
        *,
        group_size: int,
        temperature: float,
        seed: Sequence[int],
        on_step: Callable[[int, int], None] = lambda finished, live: None,
        timeout: float | None = None,
        numbers: Sequence[int] | None = None,
    ) -> list[Trajectory]:
        """The trajectories; arguments as in `rollout`, except that `timeout` is for the agent.

        An episode that neither ends nor makes a request for `timeout` seconds has failed.
        """
        play = self.suite.function()
        _allow_many_connections()
        exchange = Exchange(capacity=self.settings.queue, wait=self.settings.wait)
        episodes = [
            LiveEpisode(tasks[number], number, member, (*seed, number, member))
            for number in (range(len(tasks)) if numbers is None else numbers)
            for member in range(group_size)
        ]
        workers: dict[str, Worker] = {}
        pause = min(LONGEST_PAUSE, timeout or LONGEST_PAUSE)
        with serving(exchange, self.settings, self.suite.state_key_function()) as address:

            def start(episode: LiveEpisode) -> None:
                exchange.begin(episode)
                workers[episode.id] = Worker(
                    *(play, episode.task.game, address.base_url(episode.id), address.key(episode.id)),
                    on_end=partial(exchange.end, episode),
                )

            try:
                while unfinished := [episode for episode in episodes if not episode.over]:
                    # The first of those that are not over are being played.
                    for episode in unfinished[: self.settings.episodes]:
                        if episode.id not in workers:
                            start(episode)
                    batch = exchange.next_batch(time.monotonic() + pause)
                    self._answer(exchange, batch, temperature)
                    for episode in exchange.silent(timeout) if timeout else ():
                        exchange.end(episode, Failure("agent", str(no_answer(timeout or 0.0))))
                        workers[episode.id].abandon()
                    live = sum(episode.id in workers and not episode.over for episode in episodes)
                    on_step(sum(episode.over for episode in episodes), live)
            finally:
                exchange.close(episodes)
        return [episode.finished() for episode in episodes]

    def _note(self, request: ChatRequest, temperature: float) -> None:
        """Say once which sampling settings of the agent the run does not follow."""
        for setting in request.not_followed(temperature):
            name = setting.partition(" ")[0]
            if name not in self._told:
                self._told.add(name)
                self.say(
                    f"the agent asks for {setting}, which is not followed: responses are sampled from the "
                    "policy's whole distribution at the temperature of the run"
                )

    def _answer(self, exchange: Exchange, batch: Sequence[Pending], temperature: float) -> None:
        """Sample the responses to a batch of requests and deliver them."""
        ready: list[tuple[Pending, tuple[int, ...]]] = []
        for pending in batch:
            self._note(pending.request, temperature)
            try:
                ready.append((pending, self._prompt(pending.request)))
            except Refusal as refusal:
                exchange.answer(pending, refusal)
        if not ready:
            return
        most = self.max_response_tokens
        limits = [pending.request.limit(most) for pending, _ in ready]
        # Each request takes as many random numbers, so that its limit does not change those of later ones.
        uniforms = np.stack([pending.branch.rng.random(most) for pending, _ in ready])
        prompts = [prompt for _, prompt in ready]
        completions = self.policy.generate(prompts, uniforms[:, : max(limits)], temperature)
        for (pending, prompt), limit, completion in zip(ready, limits, completions, strict=True):
            cut = cut_short(completion, self.chat, limit, pending.request.stops)
            written = self._written(pending, prompt, cut)
            seen = last_seen(pending.request.conversation)
            exchange.answer(pending, written, Call(prompt, cut, seen, pending.state_key, written.said))

    def _prompt(self, request: ChatRequest) -> tuple[int, ...]:
        """The tokens of a request's prompt.

        Raises:
            Refusal: if the chat template does not take the messages, or the prompt is too long.
        """
        try:
            prompt = self.chat.encode_conversation(request.conversation, request.offered)
        # What an agent writes may be anything; templates and tokenizers raise errors of several kinds.
        except Exception as error:
            raise Refusal(400, in_one_line(error)) from None
        if len(prompt) > self.max_prompt_tokens:
            raise Refusal(
                400,
                f"the messages have {len(prompt)} tokens, but may have {self.max_prompt_tokens}: shorten "
                "them, or raise --max-prompt-tokens",
                "context_length_exceeded",
            )
        return prompt

    def _written(self, pending: Pending, prompt: tuple[int, ...], completion: Completion) -> Written:
        answer, request = completion.answer, pending.request
        text, calls = answer.text, ()
        if request.offered:
            text, calls = read_tool_calls(text, template_text(self.chat.tokenizer) or "")
        tokens = None
        if request.logprobs:
            texts = self.chat.decode([[token] for token in completion.tokens.tolist()])
            tokens = tuple(zip(texts, completion.logprobs.tolist(), strict=True))
        branch = pending.branch
        name = "-".join(filter(None, (pending.episode.id, branch.name, str(len(branch.calls)))))
        return Written(
            id=name,
            text=text,
            thought=answer.thought,
            calls=calls,
            cut_off=answer.ended == "length",
            prompt_tokens=len(prompt),
            completion_tokens=len(completion.tokens),
            tokens=tokens,
        )


def cut_short(
    completion: Completion, chat: ChatTokenizer, limit: int, stops: Sequence[str] = ()
) -> Completion:
    """The response as it would have been with this limit of tokens, and with these texts that end it.

    Sampling goes from left to right, so that it is the beginning of the response: up to the token with which
    one of the texts is complete. The answer is the text before it.
    """
    tokens = completion.tokens[:limit]
    if stops and (ends := _stopped(chat, tokens, stops)) is not None:
        length, text = ends
        answer = read_answer(text, begun=chat.begun, ended="stop")
        return _beginning(completion, length, answer)
    if len(tokens) == len(completion.tokens):
        return completion
    (answer,) = chat.answers([tokens])
    return _beginning(completion, len(tokens), answer)


def _beginning(completion: Completion, length: int, answer: Answer) -> Completion:
    return replace(
        completion, tokens=completion.tokens[:length], logprobs=completion.logprobs[:length], answer=answer
    )


def _stopped(chat: ChatTokenizer, tokens: np.ndarray, stops: Sequence[str]) -> tuple[int, str] | None:
    """The number of tokens up to the one that completes a stop, and the text before it; None if none does."""

    def end(length: int) -> int | None:
        (text,) = chat.decode([tokens[:length]])
        return min((place for place in map(text.find, stops) if place >= 0), default=None)

    if end(len(tokens)) is None:
        return None
    length = bisect_left(range(len(tokens) + 1), True, key=lambda count: end(count) is not None)
    return length, chat.decode([tokens[:length]])[0][: end(length)]


def _allow_many_connections() -> None:
    """Raise the limit of open files, which is often 1024, as far as the system lets this process.

    A process needs files to write its checkpoints, however many connections an agent opens.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
