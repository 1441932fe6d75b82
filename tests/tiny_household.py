"""A model without training whose vocabulary has the words of the household games."""

from __future__ import annotations

from pathlib import Path

from hgpo.envs import HouseholdSuite
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy
from hgpo.rollouts.prompts import RESPONSE_FORMATS, Turn


def save_model(folder: Path) -> None:
    prompt = RESPONSE_FORMATS["number"].prompt(Turn("", (("", ""),), "", (), 1))
    policy = create_policy(
        [prompt, *HouseholdSuite().texts()],
        TinyModel(hidden_size=32, layers=2, heads=2),
        max_tokens=4098,
        max_commands=60,
        seed=0,
    )
    policy.save(folder)
