"""docs/defaults.md against the code: each cell, and that no setting with several defaults is missing."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from hgpo.compare.plan import Plan
from hgpo.estimators import HGPO
from hgpo.training import presets
from hgpo.training.config import TrainConfig
from hgpo.training.losses import PolicyLoss

PAGE = Path(__file__).parents[2] / "docs" / "defaults.md"
IN_VERL = {
    "estimator.normalization": "algorithm.stepwise.hgpo.normalization",
    "estimator.invalid_penalty": "algorithm.stepwise.hgpo.invalid_penalty",
    "estimator.history_length": "algorithm.stepwise.hgpo.history_length",
    "prompt_history": "hgpo.prompt_history",
    "loss.entropy_coefficient": "actor_rollout_ref.actor.entropy_coeff",
    "loss.kl_coefficient": "actor_rollout_ref.actor.kl_loss_coef",
    "iterations": "trainer.total_training_steps",
    "group_size": "actor_rollout_ref.rollout.n",
    "response": "hgpo.response",
    "max_prompt_tokens": "data.max_prompt_length",
    "max_response_tokens": "data.max_response_length",
    "learning_rate": "actor_rollout_ref.actor.optim.lr",
    "learning_rate_warmup": "actor_rollout_ref.actor.optim.lr_warmup_steps",
    "gradient_checkpointing": "actor_rollout_ref.model.enable_gradient_checkpointing",
    "evaluate_every": "trainer.test_freq",
    "checkpoint_every": "trainer.save_freq",
}


def table() -> dict[str, list[str]]:
    """The values of each setting, as the page has them."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:7] for row in rows}


def settings(config: TrainConfig) -> dict[str, Any]:
    flat = presets._flat(config)
    return {name: value for name, value in flat if not name.startswith("env.") and name != "env"}


def in_verl(path: str) -> Any:
    value: Any = yaml.safe_load((files("hgpo.adapters.verl.presets") / "stepwise.yaml").read_text())
    for name in path.split("."):
        value = value[name]
    return in_verl(value[2:-1]) if isinstance(value, str) and value.startswith("${") else value


def test_the_page_says_what_the_code_does(monkeypatch):
    monkeypatch.setattr("hgpo.training.config.check_source", lambda source: None)
    train = presets.tiny_config("household")
    answers = [
        settings(TrainConfig(estimator=HGPO(), loss=PolicyLoss())),
        settings(train),
        settings(presets.tiny_config("webshop")),
        settings(presets.model_config("NAME")),
        settings(Plan(("hgpo",), 1, train).config("hgpo", 0)),
    ]
    several = {name for name in answers[0] if len({repr(answer[name]) for answer in answers}) > 1}
    listed = table()
    assert several <= listed.keys()
    for name, values in listed.items():
        expected = [str(answer[name]) for answer in answers]
        expected.append(str(in_verl(IN_VERL[name])) if name in IN_VERL else "–")
        assert values == expected, name
