"""The agent loop reads answers as `hgpo train` does, and tokens after an answer's end are not trained on."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
from byte_models import byte_tokenizer
from toy import ToySuite
from transformers import GenerationConfig, LlamaConfig

from hgpo.envs.base import Task
from hgpo.envs.episode import TimeStep, advance, begin

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("verl") is None, reason="verl is not installed"),
    pytest.mark.filterwarnings("ignore"),
]

TAGS = ("<think>", "</think>", "<action>", "</action>")
TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}<turn>{% endfor %}{% if add_generation_prompt %}"
    "[assistant]{{ '<think></think>' if enable_thinking is defined and not enable_thinking else '<think>' }}"
    "{% endif %}"
)


class Pool:
    """Episodes of the toy game, played in this process."""

    @asynccontextmanager
    async def episode(self, key: str):
        del key
        environment = ToySuite(max_steps=2).make()
        task = ToySuite().tasks("train", 1)[0]

        async def start(_: Any) -> tuple[Task, TimeStep]:
            return task, begin(environment, task)

        async def step(command: str) -> TimeStep:
            return advance(environment, command)

        yield SimpleNamespace(start=start, step=step)


class Server:
    """Gives the same answer to every prompt, with log-probabilities −1, −2, …"""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens
        self.asked: list[dict[str, Any]] = []

    async def generate(self, **request: Any) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        self.asked.append(request)
        logprobs = [-1.0 - place for place in range(len(self.tokens))]
        return TokenOutput(token_ids=self.tokens, log_probs=logprobs)


@pytest.fixture
def played(tmp_path, monkeypatch):
    """Play an episode with a model whose generation_config alone knows the end of a turn."""
    from omegaconf import OmegaConf
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap

    from hgpo.adapters.verl import agent_loop
    from hgpo.adapters.verl.settings import StepwiseSettings

    tokenizer = byte_tokenizer(*TAGS, "<turn>", template=TEMPLATE, eos_token="<eos>", pad_token="<pad>")
    LlamaConfig(vocab_size=len(tokenizer), eos_token_id=None).save_pretrained(tmp_path)
    GenerationConfig(eos_token_id=[tokenizer.convert_tokens_to_ids("<turn>")]).save_pretrained(tmp_path)
    monkeypatch.setattr(agent_loop, "_of_this_process", lambda _: (StepwiseSettings(), Pool()))

    made: Any = agent_loop.StepwiseAgentLoop

    def play(answer: str, **template: Any) -> tuple[Server, Any, list[Any]]:
        server = Server(tokenizer.encode(answer, add_special_tokens=False))
        config = OmegaConf.create(
            {
                "hgpo": {},
                "actor_rollout_ref": {
                    "model": {"path": str(tmp_path)},
                    "rollout": {"response_length": 99, "prompt_length": 999},
                },
                "data": {"apply_chat_template_kwargs": template},
            }
        )
        reference = {"split": "train", "count": 1, "seed": 0, "number": 0}

        async def run() -> list[Any]:
            # An agent loop belongs to the event loop in which it is made.
            loop = made(
                trainer_config=DictConfigWrap(config),
                server_manager=server,
                tokenizer=tokenizer,
                processor=None,
                dataset_cls=None,
                data_config=DictConfigWrap(config.data),
            )
            return await loop.run({"temperature": 1.0}, uid="u", session_id=0, task_reference=reference)

        rows = asyncio.run(run())
        assert len(rows) == 2
        return server, tokenizer, rows

    return play


def test_nothing_behind_the_first_end_is_trained_on(played):
    """Tokens, mask and log-probabilities end with the end of the turn, which only generation_config names."""
    right = "near</think><action>go to attic</action><turn>"
    server, tokenizer, rows = played(right + "[user]<action>take coin</action><turn><eos>")
    tokens = tokenizer.encode(right)
    for row in rows:
        assert row.response_ids == tokens
        assert row.response_mask == [1] * len(tokens)
        assert row.response_logprobs == [-1.0 - place for place in range(len(tokens))]
    first = rows[0].extra_fields["hgpo"]
    assert (first["action"], first["action_valid"], first["invalid_reason"]) == ("go to attic", True, "")
    ends = set(tokenizer.convert_tokens_to_ids(["<eos>", "<turn>"]))
    assert all(set(request["sampling_params"]["stop_token_ids"]) == ends for request in server.asked)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("near", "cut_off"),
        ("near<turn>", "no_action"),
        ("</think><action>fly</action><turn>", "not_listed"),
        ("</think><action>wait</action><action>wait</action>", "two_actions"),
        ("", "cut_off"),
    ],
)
def test_rows_say_why_an_answer_is_not_valid(played, answer, reason):
    _, _, rows = played(answer)
    for row in rows:
        said = row.extra_fields["hgpo"]
        assert (said["action_valid"], said["invalid_reason"]) == (False, reason)
    if not answer:
        assert [rows[0].response_mask, rows[0].response_logprobs, len(rows[0].response_ids)] == [
            [0],
            [0.0],
            1,
        ]


def test_arguments_of_the_chat_template_are_verls(played):
    """With an empty thought in the prompt, an answer has none."""
    server, tokenizer, rows = played("<action>go to attic</action><turn>", enable_thinking=False)
    assert tokenizer.decode(server.asked[0]["prompt_ids"]).endswith("[assistant]<think></think>")
    assert rows[0].extra_fields["hgpo"]["action_valid"]
    assert not played("<action>go to attic</action><turn>")[2][0].extra_fields["hgpo"]["action_valid"]


def test_reasons_are_a_column_of_the_table(played):
    from hgpo.adapters.step_records import step_table
    from hgpo.adapters.verl.rows import step_rows

    def reasons(steps: Any) -> Any:
        column = step_table(steps).invalid_reason
        return None if column is None else column.tolist()

    _, _, rows = played("near<turn>")
    steps, _ = step_rows([row.extra_fields for row in rows], ["u", "u"])
    assert reasons(steps) == ["no_action", "no_action"]
    valid = [replace(step, action_valid=True, invalid_reason="") for step in steps]
    assert reasons(valid) == ["", ""]
