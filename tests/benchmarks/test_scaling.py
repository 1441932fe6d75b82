"""The paper estimate of an iteration: its arithmetic on round numbers, and that the document shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import scaling
from scaling import Card, Model, Preset, memory, phases, table

CARD = Card(flops=1e15, bandwidth=1e12, memory=80e9)
MODEL = Model(parameters=1e9, body=1e9, layers=10, hidden=1000, key_value=100, vocabulary=100_000)
PRESET = Preset(
    MODEL, max_steps=10, won_steps=5, prompt_tokens=900, success=0.5, response_tokens=100, longest_response=200
)  # fmt: skip


def test_each_phase_is_work_over_rate():
    # 128 trajectories of 0.5 · 5 + 0.5 · 10 = 7.5 steps: 960 rows. A token in a context of 1,000 costs
    # 2e9 + 4 · 10 · 1000 · 500 = 2.02e9, its logits 2 · 1000 · 1e5 = 2e8. Two GPUs do 0.4 · 1e15 · 2 = 8e14.
    assert PRESET.rows == 960
    seconds = phases(PRESET, CARD, gpus=2)
    read = 960 * 900 * 0.86
    assert seconds["reading"] == pytest.approx(read * 2.02e9 / 8e14)
    reference = ((read + 96_000) * 2.02e9 + 96_000 * 2e8) / 8e14
    assert seconds["reference"] == pytest.approx(reference)
    assert seconds["update"] == pytest.approx(3 * reference)
    # 10 · 200 decoding steps. 96 episodes are live on average, half of them still answering, 24 a GPU; each
    # reads 2e9 bytes of weights and 24 · 1000 · 4000 = 9.6e7 of cache at 6e11 bytes per second.
    assert seconds["decoding"] == pytest.approx(2000 * (2.096e9 / 6e11 + 0.003))


def test_decoding_is_bound_by_arithmetic_where_many_are_live():
    # 1,000 tasks: 8,000 trajectories, 6,000 live, 3,000 answering: 3000 · (2.04e9 + 2e8) / 4e14 = 16.8 ms per step,
    # beside (2e9 + 3000 · 4e6) / 6e11 = 23.3 ms of traffic; with a cache a tenth as wide 5.3 ms.
    many = Preset(**{**vars(PRESET), "tasks": 1000})
    assert phases(many, CARD, 1)["decoding"] == pytest.approx(2000 * (0.0233333 + 0.003), rel=1e-4)
    thin = Model(**{**vars(MODEL), "key_value": 10})
    few_keys = Preset(**{**vars(many), "model": thin})
    assert phases(few_keys, CARD, 1)["decoding"] == pytest.approx(2000 * (0.0168 + 0.003))


def test_what_is_shared_out_shrinks_and_the_rest_does_not():
    one, four = memory(PRESET, 1), memory(PRESET, 4)
    assert (one["state"], four["state"]) == (16e9, 4e9)
    assert one["engine's weights"] == four["engine's weights"] == 2e9
    # 128 episodes of 1,100 tokens of 2 · 10 · 100 · 2 = 4,000 bytes.
    assert one["engine's cache"] == pytest.approx(128 * 1100 * 4000)
    assert one["activations"] == 16_384 * 1000 * 54


def test_what_does_not_fit_is_said():
    lines = list(table(Card(flops=1e15, bandwidth=1e12, memory=1e9), early=False))
    assert all("does not fit" in line for line in lines[2:])


@pytest.mark.parametrize("early", [False, True])
def test_the_document_shows_the_tables(early):
    document = (Path(scaling.__file__).parents[1] / "docs" / "scaling.md").read_text()
    assert "\n".join(table(scaling.CARDS["h100"], early=early)) in document
