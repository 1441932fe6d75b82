"""The players of `hgpo evaluate`: trained agents, the expert, random play, and models behind a server."""

from __future__ import annotations

import json
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import tyro

from hgpo.agents import Agent, ExpertAgent, LanguageAgent, RandomAgent
from hgpo.agents.untrained_prompts import Plain, Prompting, PromptingName, ReAct
from hgpo.envs import ENVIRONMENTS
from hgpo.envs.base import TaskSuite
from hgpo.errors import SettingError
from hgpo.policies.settings import is_model
from hgpo.rollouts.agent import PlayingAgent
from hgpo.rollouts.prompts import RESPONSE_FORMATS
from hgpo.training.config import ResponseFormatName, load_config

ENDPOINT = "endpoint"
DEFAULT_KEY = "OPENAI_API_KEY"


@dataclass(frozen=True)
class ModelOptions:
    """How a model that is not from a run is prompted and sampled."""

    model: str | None = None
    """The endpoint's model, by its name on the server."""
    base_url: str | None = None
    """The endpoint's address, which often ends in /v1; None is OpenAI's own. A query string after "?" is sent
    with every request, such as Azure's api-version."""
    key_variable: str = DEFAULT_KEY
    """The environment variable that holds the endpoint's key; your own server may not need one."""
    prompting: PromptingName = "plain"
    """plain: the published prompt; react: thoughts and actions as a conversation; reflexion: the same, and a
    failed task is tried again after the model has written down what it learned."""
    trials: int = 3
    """Number of times that Reflexion tries a task. It is told whether it won; the other methods are not."""
    prompt_history: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Past steps that the prompt shows; None: all for react and reflexion, 2 for the others."""
    max_prompt_tokens: int = 4096
    """For models in folders: the oldest steps are left out of a prompt that would be longer."""
    max_response_tokens: int = 512
    """The largest number of tokens of a reply."""
    response: ResponseFormatName = "think_action"
    """For models in folders: how commands are listed and replies are parsed."""
    concurrency: int = 16
    """Number of requests to the endpoint at the same time."""
    attempts: int = 8
    """Number of attempts for a request that fails for a reason that may be temporary, with growing pauses.
    After the last one its episode fails; if the server answers no request at all, the evaluation stops."""
    request_timeout: float = 120.0
    """Timeout of a request in seconds."""
    ask_refused_again: tyro.conf.FlagCreatePairsOff[bool] = False
    """Ask again for replies that the endpoint refused in an earlier call, for example because of a content
    filter. Without this option their episodes stay failed."""
    request: str = "{}"
    """Additional fields of each request as a JSON object; null removes a field. For reasoning models, e.g.:
    '{"max_tokens": null, "max_completion_tokens": 2048, "temperature": null}'."""
    price_input: float | None = None
    """Price per million input tokens, in any currency; together with --price-output the cost is printed."""
    price_output: float | None = None
    """Price per million output tokens."""

    def __post_init__(self) -> None:
        for name in ("trials", "concurrency", "attempts", "max_prompt_tokens", "max_response_tokens"):
            if getattr(self, name) < 1:
                raise SettingError(f"--{name.replace('_', '-')} is {getattr(self, name)}: expected 1 or more")
        if self.prompt_history is not None and self.prompt_history < 0:
            raise SettingError(f"--prompt-history is {self.prompt_history}: expected 0 or more")
        if not 0 < self.request_timeout < math.inf:
            raise SettingError(f"--request-timeout is {self.request_timeout}: expected a number above 0")
        if self.base_url is not None:
            _check_address(self.base_url.strip())
        if (self.price_input is None) != (self.price_output is None):
            raise SettingError("--price-input and --price-output go together: give both or neither")
        self.request_fields()

    def request_fields(self) -> dict[str, Any]:
        """The fields that --request gives."""
        try:
            fields = json.loads(self.request)
        except json.JSONDecodeError as error:
            raise SettingError(f"--request is not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise SettingError(f'--request is {self.request}: expected a JSON object, as in {{"top_p": 0.9}}')
        return fields


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise SettingError(
            f"--base-url is {url!r}: expected an address that begins with http:// or https://, as in "
            "http://localhost:8000/v1"
        )


@dataclass(frozen=True)
class Player:
    """An agent with a name."""

    name: str
    """The name of its row in the table."""
    agent: Agent | PlayingAgent
    bill: Callable[[], str | None] = lambda: None
    """A line about the player's costs so far."""


def games_of(names: Sequence[str], default: TaskSuite) -> TaskSuite:
    """The environment of the runs among these players, or the default if there are none.

    Raises:
        SettingError: if a name belongs to no player, or two runs have different environments.
    """
    suites: dict[str, TaskSuite] = {}
    for name in names:
        if name not in (*_SCRIPTED, ENDPOINT) and _is_run(Path(name)):
            suites[name] = load_config(Path(name) / "config.json").env
    first = next(iter(suites.items()), None)
    for name, suite in suites.items():
        if first is not None and suite != first[1]:
            raise SettingError(
                f"{first[0]} plays {first[1]} but {name} plays {suite}, so there is no common table: choose "
                f"one environment for all, as in env:{next(iter(ENVIRONMENTS))}"
            )
    return first[1] if first else default


@contextmanager
def open_player(
    name: str, suite: TaskSuite, options: ModelOptions, folder: Path, say: Callable[[str], None]
) -> Iterator[Player]:
    """The player with a name.

    Args:
        name: "expert", "random", "endpoint", or the folder of a run or of a model.
        suite: the environment.
        options: how models are prompted.
        folder: the folder in which an endpoint's replies are kept.
        say: called with a line of text when a server asks for a pause.

    Raises:
        SettingError: if there is no such player.
    """
    if name in _SCRIPTED:
        yield Player(name, _SCRIPTED[name](suite))
    elif name == ENDPOINT:
        with _endpoint(options, folder, say) as player:
            yield player
    elif _is_run(Path(name)):
        # Models need torch; the other players do not.
        import transformers

        from hgpo.training.open_run import open_run, weights_in_words

        transformers.utils.logging.disable_progress_bar()
        run = open_run(Path(name), evaluated=True)
        label = f"{Path(name).name}, iteration {run.iteration}{weights_in_words(run.config)}"
        yield Player(label, run.agent)
    else:
        yield Player(Path(name).name, _untrained(Path(name), options))


def constrained(player: Player) -> Player:
    """The player with answers restricted to the listed commands; those of scripted players always are.

    Raises:
        SettingError: if the player's answers cannot be restricted.
    """
    if isinstance(player.agent, LanguageAgent):
        agent = replace(player.agent, constrained=True)
        return replace(player, name=f"{player.name}, constrained", agent=agent)
    if player.name not in _SCRIPTED:
        raise SettingError("--constrain-answers restricts runs and models on this machine, not a server's")
    return player


_SCRIPTED: dict[str, Callable[[TaskSuite], Agent]] = {
    "expert": ExpertAgent,
    "random": lambda _: RandomAgent(),
}


def _is_run(folder: Path) -> bool:
    """Whether a folder holds a run rather than a model; both have a config.json."""
    if is_model(folder):
        return False
    if not (folder / "config.json").is_file():
        raise SettingError(
            f"{folder} is neither a run nor a model (it has no config.json), nor the name of a player: "
            f"expected a folder, {', '.join(_SCRIPTED)} or {ENDPOINT}"
        )
    return True


def _untrained(folder: Path, options: ModelOptions) -> LanguageAgent:
    import transformers

    from hgpo.policies.compute import Compute, choose_compute
    from hgpo.policies.loading import load_policy

    transformers.utils.logging.disable_progress_bar()
    return LanguageAgent(
        load_policy(folder, choose_compute(None, "auto", token_budget=Compute.token_budget), trainable=False),
        RESPONSE_FORMATS[options.response],
        prompt_history=2 if options.prompt_history is None else options.prompt_history,
        max_prompt_tokens=options.max_prompt_tokens,
        max_response_tokens=options.max_response_tokens,
    )


@contextmanager
def _endpoint(options: ModelOptions, folder: Path, say: Callable[[str], None]) -> Iterator[Player]:
    from hgpo.agents.chat import Server, Usage, open_chat
    from hgpo.agents.endpoint import EndpointAgent

    if options.model is None:
        raise SettingError("--policy endpoint needs --model, the model's name on the server")
    server = Server(
        model=options.model,
        base_url=options.base_url and options.base_url.strip(),
        key=_key(options),
        concurrency=options.concurrency,
        attempts=options.attempts,
        timeout=options.request_timeout,
        request={"max_tokens": options.max_response_tokens, **options.request_fields()},
    )

    def bill(usage: Usage) -> str:
        told = (
            f"{options.model}: {usage.asked} replies requested, {usage.replayed} taken from {folder}, "
            f"{usage.retries} attempts repeated; {usage.prompt_tokens:,} input tokens, "
            f"{usage.completion_tokens:,} output tokens"
        )
        if options.price_input is None or options.price_output is None:
            return told
        cost = usage.prompt_tokens * options.price_input + usage.completion_tokens * options.price_output
        return f"{told}, at a price of {cost / 1e6:.4f} in all"

    trials = options.trials if options.prompting == "reflexion" else 1
    with open_chat(server, folder, say=say, forget_refusals=options.ask_refused_again) as client:
        agent = EndpointAgent(client, _prompting(options), trials)
        tried = f", {trials} trials" if trials > 1 else ""
        yield Player(f"{options.model}, {options.prompting}{tried}", agent, lambda: bill(client.usage))


def _prompting(options: ModelOptions) -> Prompting:
    if options.prompting == "plain":
        return Plain(2 if options.prompt_history is None else options.prompt_history)
    return ReAct(options.prompt_history)


def _key(options: ModelOptions) -> str | None:
    """The endpoint's key; None for a server that needs no key.

    Raises:
        SettingError: if the key is missing, or contains characters that an HTTP header cannot hold.
    """
    key = os.environ.get(options.key_variable, "").strip()
    if not key and (options.base_url is None or options.key_variable != DEFAULT_KEY):
        raise SettingError(f"no key: set the environment variable {options.key_variable}")
    odd = re.search(r"[^!-~]|^[\"'`]|[\"'`]$", key)
    if odd:
        raise SettingError(
            f"the key in {options.key_variable} has {_character(odd[0])} at position {odd.start() + 1} of "
            f"{len(key)}, which a key cannot contain: copy only the key, without quotes"
        )
    return key or None


def _character(character: str) -> str:
    return f"{unicodedata.name(character, 'a control character').lower()} (U+{ord(character):04X})"
