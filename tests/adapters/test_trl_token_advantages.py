"""TRL's rollouts with tool calls, and the advantages of their turns.

A scripted model walks between three rooms by a tool. Each of the four rollouts of a task has its plan; what
their states and rewards are follows from the plans.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from byte_models import byte_tokenizer

from hgpo import GRPO, HGPO, StepTable

pytest.importorskip("trl", reason="TRL is not installed (make test-trl)")

from hgpo.adapters.trl import TokenAdvantages
from hgpo.errors import SettingError

pytestmark = [
    pytest.mark.stack,
    pytest.mark.filterwarnings("ignore"),
]

# The rooms that each rollout goes to from the hall; then it stops. The coin lies in the attic in the first
# task, in the cellar in the second.
PLANS = (("attic", "cellar"), ("attic",), ("cellar", "attic"), ())
COINS = ("attic", "cellar")


class House:
    """The environment: its public methods are the tools."""

    def reset(self, coin: str, **_: Any) -> str:
        self.room, self.coin = "hall", coin
        return f" The coin is in the {coin}."

    def move(self, room: str) -> str:
        """
        Go to a room.

        Args:
            room: The room to go to.

        Returns:
            What you see.
        """
        self.room = room
        return f"You are in the {room}."

    def get_reward(self) -> float:
        return float(self.room == self.coin)


def answer(plan: int, turn: int) -> str:
    """The model's text; the number at its start tells which plan a later turn continues."""
    if turn == len(PLANS[plan]):
        return f"{plan} done<|im_end|>"
    call = json.dumps({"name": "move", "arguments": {"room": PLANS[plan][turn]}})
    return f"{plan} <tool_call>\n{call}\n</tool_call><|im_end|>"


def trainer_class() -> Any:
    import torch
    from trl import GRPOTrainer  # pyright: ignore[reportMissingImports]

    class Scripted(GRPOTrainer):
        """Answers by the plans, and keeps what the loss reads."""

        read: list[dict[str, Any]]

        def _generate_single_turn(self, prompt_ids, *_, **__):
            texts = self.processing_class.batch_decode(prompt_ids)
            first = "<tool_response>" not in "".join(texts)
            answers = []
            for place, text in enumerate(texts):
                said = text.rsplit("<|im_start|>user\nGo.", 1)[1].split("<|im_start|>assistant\n")[1:]
                plan = place % 4 if first else int(said[0][0])
                answers.append(answer(plan, 0 if first else len(said) - 1))
            return [self.processing_class.encode(text) for text in answers], None

        def _compute_loss(self, model, inputs):
            self.read.append(
                {name: value.clone() for name, value in inputs.items() if torch.is_tensor(value)}
            )
            return super()._compute_loss(model, inputs)

    class Trainer(TokenAdvantages, Scripted):
        pass

    return Trainer


def train(folder: Any, monkeypatch: Any, steps: int = 1, **settings: Any) -> Any:
    import datasets
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import GRPOConfig  # pyright: ignore[reportMissingImports]

    # Otherwise TRL reports its use.
    monkeypatch.setenv("CI", "1")
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    template = (files("trl") / "chat_templates" / "qwen2_5.jinja").read_text()
    tokenizer = byte_tokenizer(
        *("<|im_start|>", "<|im_end|>", "<|pad|>"),
        **{"template": template, "eos_token": "<|im_end|>", "pad_token": "<|pad|>", "padding_side": "left"},
    )
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=4096, **shape))
    loss = settings.pop("loss_type", "dapo")
    args = GRPOConfig(
        output_dir=str(folder),
        **{"num_generations": 4, "per_device_train_batch_size": 8, "max_steps": steps, "loss_type": loss},
        **{
            "max_completion_length": 512,
            "report_to": "none",
            "save_strategy": "no",
            "shuffle_dataset": False,
        },
        **{"bf16": False, "use_cpu": True, "gradient_checkpointing": False, "logging_steps": 1},
    )
    prompts = [[{"role": "user", "content": "Go."}]] * 2
    trainer = trainer_class()(
        model,
        args=args,
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts, "coin": list(COINS)}),
        processing_class=tokenizer,
        **settings,
    )
    trainer.read = []
    trainer.train()
    return trainer


def plans_of(read: dict[str, Any], tokenizer: Any) -> list[tuple[int, int]]:
    """Task and plan of each row that the loss read: rows are shuffled."""
    found = []
    for prompt, completion in zip(read["prompt_ids"], read["completion_ids"], strict=True):
        coin = tokenizer.decode(prompt).split("The coin is in the ")[1].split(".")[0]
        found.append((COINS.index(coin), int(tokenizer.decode(completion)[0])))
    return found


def table(state: Any) -> StepTable:
    """All steps of the eight rollouts; a turn's state is a function of the task and the rooms so far."""
    rows = []
    for task, coin in enumerate(COINS):
        for plan, rooms in enumerate(PLANS):
            for step in range(len(rooms) + 1):
                path = ("hall", *rooms[:step])
                won = step == len(rooms) and path[-1] == coin
                rows.append(
                    {
                        **{"task_id": task, "trajectory_id": (task, plan), "step_index": step},
                        **{"state_key": state(plan, path), "reward": float(won)},
                    }
                )
    return StepTable.from_rows(rows)


def check(trainer: Any, steps: StepTable, advantages: np.ndarray) -> None:
    """Each token that the model sampled has the advantage of its turn; all others have none."""
    expected = dict(
        zip(
            zip(steps.trajectory_id.tolist(), steps.step_index.tolist(), strict=True), advantages, strict=True
        )
    )
    (read,) = trainer.read
    places = plans_of(read, trainer.processing_class)
    assert sorted(places) == [(task, plan) for task in (0, 1) for plan in range(4)]
    for row, (task, plan) in enumerate(places):
        tokens = read["completion_ids"][row]
        mask = (read["completion_mask"] * read["tool_mask"])[row].bool()
        found = read["advantages"][row]
        at = 0
        for turn in range(len(PLANS[plan]) + 1):
            length = len(trainer.processing_class.encode(answer(plan, turn)))
            while not mask[at]:
                assert found[at] == 0.0
                at += 1
            text = trainer.processing_class.decode(tokens[at : at + length])
            assert text == answer(plan, turn)
            np.testing.assert_allclose(
                found[at : at + length],
                expected[(task, plan), turn],
                atol=1e-6,
                err_msg=str((task, plan, turn)),
            )
            at += length
        assert not mask[at:].any() and not found[at:].any()


@pytest.mark.parametrize("loss", ["dapo", "grpo", "dr_grpo"])
def test_turns_in_one_room_are_compared(tmp_path, monkeypatch, loss):
    """Rejects: the state after a turn, tokens of a tool's result, and rows out of order."""
    trainer = train(
        tmp_path,
        monkeypatch,
        loss_type=loss,
        environment_factory=House,
        state_key=lambda house: house.room,
        estimator_settings={"discount": 0.9},
    )
    steps = table(lambda plan, path: path[-1])
    advantages = HGPO(discount=0.9)(steps)
    assert len(np.unique(np.round(advantages, 6))) > 6
    check(trainer, steps, advantages)
    log = trainer.state.log_history[0]
    assert log["tools/call_frequency"] == pytest.approx(5 / 4) and log["tools/failure_frequency"] == 0
    assert log["hgpo/advantage_rms"] == pytest.approx(np.sqrt(np.mean(advantages**2)))


def test_without_state_keys_the_text_so_far_is_the_state(tmp_path, monkeypatch):
    # Every text contains its plan's number, so that only the first turns of a task share a state.
    trainer = train(tmp_path, monkeypatch, environment_factory=House)
    steps = table(lambda plan, path: path if len(path) == 1 else (plan, path))
    check(trainer, steps, HGPO()(steps))


def test_tools_without_an_environment(tmp_path, monkeypatch):
    """The tool is a function; the reward is the fraction of the rooms that were visited."""

    def move(room: str) -> str:
        """
        Go to a room.

        Args:
            room: The room to go to.

        Returns:
            What you see.
        """
        return f"You are in the {room}."

    def visited(completions: Any, **_: Any) -> list[float]:
        return [sum(message["role"] == "tool" for message in each) / 2 for each in completions]

    # Without an environment the prompts of the two tasks are equal; the estimator compares within a task only.
    trainer = train(
        tmp_path, monkeypatch, tools=[move], reward_funcs=[visited], estimator="grpo",
        estimator_settings={"normalization": "mean"},
    )  # fmt: skip
    (read,) = trainer.read
    # Returns 1, 1/2, 1 and 0 with the mean 5/8.
    found = {
        int(trainer.processing_class.decode(completion)[0]): float(advantages[0])
        for completion, advantages in zip(read["completion_ids"], read["advantages"], strict=True)
    }
    assert found == pytest.approx({0: 3 / 8, 1: -1 / 8, 2: 3 / 8, 3: -5 / 8})
    assert GRPO(normalization="mean") == trainer.estimator


def test_state_keys_need_environments():
    with pytest.raises(SettingError, match="state_key reads environments: give environment_factory"):
        trainer_class()("model", state_key=lambda house: house.room)
