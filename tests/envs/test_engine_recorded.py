"""The engine against episodes recorded from the reference engine on official ALFWorld games."""

from __future__ import annotations

import importlib.util
import json
import lzma
import os
import zipfile
from pathlib import Path

import pytest

from hgpo.envs.alfworld import Episode, compile_game, demangled_names

SHARED = Path(__file__).resolve().parents[3] / "shared"
RECORDINGS = SHARED / "golden" / "alfworld_transcripts.jsonl.xz"


def domain_and_grammar() -> list[str]:
    """ALFWorld's own, from its wheel or from the installed package."""
    names = ("alfred.pddl", "alfred.twl2")
    if wheel := os.environ.get("ALFWORLD_WHEEL"):
        with zipfile.ZipFile(wheel) as archive:
            return [archive.read(f"alfworld/data/{name}").decode() for name in names]
    package = importlib.util.find_spec("alfworld")
    if package is None or not package.submodule_search_locations:
        pytest.skip(
            "needs ALFWorld's domain: set ALFWORLD_WHEEL to the wheel of alfworld 0.4.2, or install it"
        )
    return [(Path(package.submodule_search_locations[0]) / "data" / name).read_text() for name in names]


@pytest.mark.skipif(not RECORDINGS.exists(), reason=f"needs the recordings in {RECORDINGS.parent}")
def test_every_recorded_step_is_played_with_the_same_text():
    domain, grammar = domain_and_grammar()
    with lzma.open(RECORDINGS, "rt") as lines:
        recordings = [json.loads(line) for line in lines]
    rows = {}
    for split in {recording["game"].split("/")[0] for recording in recordings}:
        with lzma.open(SHARED / "data" / "alfworld" / f"{split}.jsonl.xz", "rt") as lines:
            rows |= {f"{split}/{row['id']}": row for row in map(json.loads, lines)}
    steps = 0
    for recording in recordings:
        row = rows[recording["game"]]
        game = compile_game(
            {
                "pddl_domain": domain,
                "grammar": grammar.replace("UNKNOWN GOAL", row["goal"]),
                "pddl_problem": row["problem"],
            },
            demangled_names,
        )
        for run in recording["runs"]:
            episode = Episode(game)
            seen = [(episode.observation, episode.admissible_commands, False)]
            expected = [(run["first"]["observation"], tuple(sorted(run["first"]["admissible"])), False)]
            for step in run["steps"]:
                episode.step(step["action"])
                seen.append((episode.observation, episode.admissible_commands, episode.won))
                expected.append((step["observation"], tuple(sorted(step["admissible"])), step["won"]))
                steps += 1
            assert seen == expected, recording["game"]
    assert steps > 1000
