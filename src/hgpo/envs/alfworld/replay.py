"""Replays episodes that were recorded from the reference engine.

A record: {game: SPLIT/GAME/TRIAL, runs: [{first: {observation, admissible}, steps: [{action, observation,
admissible, score, done, won}]}]}. Admissible commands are compared as sorted lists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hgpo.envs.alfworld.suite import AlfworldSuite
from hgpo.envs.replay import Comparison, read_recordings
from hgpo.envs.textgame.engine import Episode
from hgpo.errors import SettingError


def replay(suite: AlfworldSuite, path: Path) -> Comparison:
    """Play the recorded commands and compare every observation, command list, score and end.

    Raises:
        SettingError: if the file is not a recording, or names a game that does not exist.
    """
    comparison = Comparison()
    for number, record in read_recordings(path):
        try:
            game = suite.compiled(suite.game(str(record["game"])))
            for run_number, run in enumerate(record["runs"], start=1):
                episode = Episode(game)
                where = f"{record['game']}, run {run_number}"
                comparison.episodes += 1
                comparison.compare(f"{where}, start", _recorded(run["first"]), _start(episode))
                for index, step in enumerate(run["steps"], start=1):
                    episode.step(step["action"])
                    comparison.steps += 1
                    comparison.compare(
                        f"{where}, step {index} {step['action']!r}", _recorded(step), _moment(episode)
                    )
        except (KeyError, TypeError, AttributeError) as error:
            raise SettingError(
                f"{path}, line {number} is not a recorded ALFWorld episode: {error!r} is missing or wrong"
            ) from None
    return comparison


def _recorded(moment: dict[str, Any]) -> dict[str, Any]:
    return {**moment, "admissible": sorted(moment["admissible"])}


def _start(episode: Episode) -> dict[str, Any]:
    return {"observation": episode.observation, "admissible": list(episode.admissible_commands)}


def _moment(episode: Episode) -> dict[str, Any]:
    won = episode.won
    return {**_start(episode), "score": int(won), "done": won, "won": won}
