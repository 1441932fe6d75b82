"""The GPU benchmark: all of its parts on a CPU, the handling of failures, and its arithmetic."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gpu
import gpu_correctness
import gpu_learning
import gpu_speed
import pytest
import scaling
import torch
from gpu_figures import Figures, failures, read, table, write
from gpu_setup import card_of, find_games, peak_gib, release

from hgpo.errors import SettingError

CPU = torch.device("cpu")
ROOT = Path(gpu.__file__).parents[1]
NOT_THERE = (
    "tyro",
    "pyarrow",
    "rapidfuzz",
    "matplotlib",
    "ijson",
    "nltk",
    "thefuzz",
    "platformdirs",
    "openai",
)
"""What a machine may lack that has torch, transformers and peft alone."""


@pytest.fixture
def figures(tmp_path):
    return Figures(tmp_path / "gpu.jsonl", "test", time.time() + 100, release)


@pytest.fixture
def no_alfworld(monkeypatch, tmp_path):
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def measured(figures):
    """The figures by name; none of them may have failed."""
    records = read(figures.path)
    assert failures(records) == 0, "\n".join(table(records))
    return {record["what"]: record for record in records}


def test_every_comparison_is_made_and_holds_where_the_device_is_the_cpu(figures):
    gpu_correctness.run(figures, CPU, small=True, games=None)
    found = measured(figures)
    for precision in ("float32", "bfloat16"):
        for trees in ("on", "off"):
            assert f"log-probabilities, {precision}, prefix trees {trees}: largest difference" in found
        assert f"sampler against learner, {precision}: mean difference" in found
        assert f"one update, {precision}: difference from the CPU's" in found
    # The comparison can tell: shared beginnings are read once, and bfloat16 is not float32.
    assert found["log-probabilities, float32, prefix trees on: share of tokens read"]["value"] < 0.9
    assert found["log-probabilities, bfloat16, prefix trees off: mean difference"]["value"] > 1e-4
    assert found["one update, bfloat16: difference from the CPU's"]["value"] > 1e-4


def test_a_device_that_computes_something_else_is_found_out(figures):
    # A plain reading that is 0.01 nats off, and a step that is a tenth shorter, stand for a wrong device.
    stage = gpu_correctness._Stage(gpu_correctness.SMALL)
    stage.plain = [row + 0.01 for row in stage.plain]
    stage.step = stage.step * 0.9
    stage.compare_scores(figures, "scores", CPU, "float32", True)
    stage.compare_update(figures, "update", CPU, "float32", False)
    verdicts = {record["what"]: record["ok"] for record in read(figures.path) if "ok" in record}
    assert verdicts == {
        "scores: mean difference": False,
        "scores: largest difference": False,
        "update: difference from the CPU's": False,
    }
    assert failures(read(figures.path)) == 3


def test_speeds_and_an_iteration_are_measured(figures, no_alfworld):
    gpu_speed.run(figures, CPU, small=True, games=None)
    found = measured(figures)
    for subject in gpu_speed.SMALL.subjects:
        for what in ("prompt tokens", "tokens of an update, reference included"):
            assert found[f"{subject.name}: {what}"]["value"] > 0
    name = f"one ALFWorld-shaped iteration, {gpu_speed.SMALL.subjects[0].name}"
    parts = [
        found[f"{name}: {part}"]["value"] for part in ("rollout", "advantages", "update, reference included")
    ]
    assert found[f"{name}: all"]["value"] == pytest.approx(sum(parts))
    # 2 tasks × 3 rollouts, none of which ends before its 2 steps.
    assert found[f"{name}: prompt tokens of a row"]["note"] == "12 rows"


def test_a_model_imitates_and_learns(figures, no_alfworld, monkeypatch):
    monkeypatch.setattr(gpu_learning, "SMALL", replace(gpu_learning.SMALL, most_seconds=1.0))
    gpu_learning.run(figures, CPU, small=True, games=None)
    found = measured(figures)
    assert found["parameters"]["note"].startswith("household games")
    for when in ("after imitation", "after reinforcement learning"):
        for split in ("valid_seen", "valid_unseen"):
            assert 0 <= found[f"games won {when}, {split}"]["value"] <= 100
    assert "iteration 1: training games won" in found


def test_the_model_that_learns_has_the_size_that_is_promised(no_alfworld):
    suite, _ = find_games(None)
    tokenizer = gpu_learning.make_tokenizer(suite, gpu_learning.RESPONSE_FORMAT)
    policy = gpu_learning._new_policy(CPU, gpu_learning.FULL, tokenizer)
    # 6 layers of 4 h² attention and 3 · 3 h² feed-forward weights, h = 384, are 11.5 million.
    weights = sum(weight.numel() for weight in policy.model.parameters())
    assert 11.5e6 < weights < 12.5e6


@pytest.mark.parametrize("subject", gpu_speed.FULL.subjects)
def test_published_shapes_have_the_published_number_of_parameters(subject):
    with torch.device("meta"):
        model = gpu_speed.make_model(
            gpu_speed.Qwen2Config(**subject.shape), torch.device("meta"), torch.bfloat16
        )
    weights = sum(weight.numel() for weight in model.parameters())
    assert weights == pytest.approx(subject.paper.parameters, rel=0.005)
    assert model.config.num_hidden_layers == subject.paper.layers
    embedding = model.get_input_embeddings().weight.numel() * (1 if subject.lora_rank == 0 else 2)
    assert weights - embedding == pytest.approx(subject.paper.body, rel=0.005)


def test_the_arithmetic_beside_is_that_of_the_document():
    # R rows of 508 + 100 tokens, all of them read: reference and update of `phases`, in tokens a second.
    card, size = scaling.CARDS["h100"], gpu_speed.FULL
    preset = replace(scaling.PRESETS["ALFWorld, 1.5B, K = 2"], read_share=1.0)
    seconds = scaling.phases(preset, card, gpus=1)
    expected = preset.rows * 608 / (seconds["reference"] + seconds["update"])
    assert gpu_speed._paper_update(gpu_speed.QWEN_1_5B, card, size) == pytest.approx(expected)
    # An iteration of the document's shape: 50 steps, all lost, every response as long as the longest.
    shape = replace(preset, success=0.0, read_share=0.86, longest_response=100)
    seconds = scaling.phases(shape, card, gpus=1)
    paper = gpu_speed._paper_iteration(card, size, 50, 508)
    assert paper["update"] == pytest.approx(seconds["reference"] + seconds["update"])
    assert paper["rollout"] == pytest.approx(sum(seconds[p] for p in ("environments", "reading", "decoding")))
    # A weight that does not learn needs no gradient: 3 forward passes in the place of 4.
    light, full = (
        gpu_speed._paper_update(replace(gpu_speed.QWEN_1_5B, lora_rank=rank), card, size) for rank in (8, 0)
    )
    assert light == pytest.approx(full * 4 / 3)


def test_an_adapter_has_the_parameters_that_are_counted():
    (subject,) = (subject for subject in gpu_speed.SMALL.subjects if subject.lora_rank)
    tokenizer = gpu_speed.word_tokenizer(["a"], 1)
    learner = gpu_speed._make_learner(subject, CPU, torch.float32, tokenizer)
    learns = sum(weight.numel() for weight in learner.policy.model.parameters() if weight.requires_grad)
    assert learns == gpu_speed._adapter_parameters(subject)


def test_the_document_shows_what_is_expected(capsys):
    assert gpu.main(["--paper"]) == 0
    assert capsys.readouterr().out.strip() in (ROOT / "docs/gpu.md").read_text()


def test_an_iteration_is_as_long_as_the_time_allows():
    # A step of 2 · 3 = 6 rows costs 6 · (40 / 240 + 6 / 36 + 46 / 276) = 3 s; of 15 s 0.8 may be planned: 4 steps.
    size = replace(gpu_speed.SMALL, most_steps=50)
    speeds = gpu_speed._Speeds(prompt=240, decoded=36, update=276)
    assert gpu_speed._steps_that_fit(15.0, speeds, size) == 4
    assert gpu_speed._steps_that_fit(1000.0, speeds, size) == 50
    assert gpu_speed._steps_that_fit(2.0, speeds, size) == 0


@pytest.mark.parametrize(
    ("name", "known"), [("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA H200", "h200"), ("NVIDIA L4", None)]
)
def test_a_card_is_known_by_its_name(name, known, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert card_of(torch.device("cuda")) == scaling.CARDS.get(known)
    assert card_of(CPU) is None and peak_gib(CPU) is None


def test_a_part_that_fails_is_written_down_and_the_next_goes_on(figures):
    def out_of_memory():
        figures.add("before", 1.0, "s")
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")

    figures.attempt("first", out_of_memory)
    figures.attempt("second", lambda: figures.add("after", 2.0, "s"))
    figures.attempt("third", lambda: figures.add("never", 3.0, "s"), needs=1000)
    figures.add("not a number", float("nan"), "nats", at_most=1.0)
    records = read(figures.path)
    assert [record["what"] for record in records] == ["before", "first", "after", "third", "not a number"]
    assert records[1]["failed"] == "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB."
    assert "1000 that it needs" in records[3]["failed"]
    assert failures(records) == 3
    lines = list(table(records))
    assert lines[2] == "| test | before | 1 | s |  |  |"
    assert lines[3].endswith("FAILED: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB. |")
    assert lines[-1].endswith("at most 1: TOO LARGE |")


def test_a_file_that_was_cut_off_has_all_whole_lines(tmp_path):
    path = tmp_path / "gpu.jsonl"
    write(path, {"section": "a", "what": "b", "value": 1.0, "unit": "s"})
    with path.open("a") as file:
        file.write('{"section": "a", "wh')
    assert [record["what"] for record in read(path)] == ["b"]
    assert read(tmp_path / "nowhere") == []


def test_a_section_that_takes_too_long_is_ended_and_the_next_begins(tmp_path, monkeypatch, capsys):
    # Each may take nothing at all, so that it is ended while it still imports.
    monkeypatch.setattr(gpu, "REPORT_SECONDS", 0)
    out = tmp_path / "gpu.jsonl"
    only = ["correctness", "speed"]
    assert gpu.main(["--small", "--device", "cpu", "--minutes", "0", "--only", *only, "--out", str(out)]) == 1
    assert [(r["section"], r["failed"]) for r in read(out)] == [
        (name, "over its time limit") for name in only
    ]
    assert "FAILED: over its time limit" in capsys.readouterr().out


def test_a_process_that_dies_is_written_down(tmp_path):
    out = tmp_path / "gpu.jsonl"
    assert gpu.main(["--device", "nowhere", "--only", "correctness", "--out", str(out)]) == 1
    assert read(out)[-1]["failed"] == "the process ended with exit code 1"


def test_a_mistyped_folder_of_games_costs_no_time(tmp_path, capsys):
    out = tmp_path / "gpu.jsonl"
    assert gpu.main(["--games", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
    assert "nowhere" in capsys.readouterr().err and not out.exists()
    with pytest.raises(SettingError):
        find_games(str(tmp_path / "nowhere"))


@pytest.mark.slow
def test_the_whole_command_on_a_machine_with_nothing_but_torch_transformers_and_peft(tmp_path):
    # Python runs sitecustomize at its start; a module that is None there cannot be imported.
    blocked = f"import sys\nfor name in {NOT_THERE}:\n    sys.modules[name] = None\n"
    (tmp_path / "sitecustomize.py").write_text(blocked)
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("ALFWORLD_DATA", None)
    command = [
        sys.executable,
        "benchmarks/gpu.py",
        "--small",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=480)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout and "TOO LARGE" not in done.stdout
    records = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert {record["section"] for record in records} == set(gpu.SECTIONS)
    assert all(record["machine"]["torch"] == torch.__version__ for record in records if "machine" in record)
