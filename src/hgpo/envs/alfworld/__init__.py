"""ALFWorld's game format, played natively: PDDL decides what happens, a text grammar says it in words."""

from hgpo.envs.alfworld.engine import Episode, Game, compile_game
from hgpo.envs.alfworld.errors import GameFormatError
from hgpo.envs.alfworld.names import demangled_names, plain_names
from hgpo.envs.alfworld.suite import AlfworldEnvironment, AlfworldSuite

__all__ = [
    "AlfworldEnvironment",
    "AlfworldSuite",
    "Episode",
    "Game",
    "GameFormatError",
    "compile_game",
    "demangled_names",
    "plain_names",
]
