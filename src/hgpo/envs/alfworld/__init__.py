"""ALFWorld's game format, played natively: PDDL decides what happens, a text grammar says it in words."""

from hgpo.envs.alfworld.engine import Episode, Game, compile_game
from hgpo.envs.alfworld.environment import GameEnvironment
from hgpo.envs.alfworld.errors import GameFormatError
from hgpo.envs.alfworld.names import demangled_names, plain_names
from hgpo.envs.alfworld.suite import AlfworldSuite

__all__ = [
    "AlfworldSuite",
    "Episode",
    "Game",
    "GameEnvironment",
    "GameFormatError",
    "compile_game",
    "demangled_names",
    "plain_names",
]
