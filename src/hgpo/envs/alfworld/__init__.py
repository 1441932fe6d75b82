"""ALFWorld: the official games, an expert for them, and recorded episodes to replay.

The engine that plays the games is `hgpo.envs.textgame.engine`.
"""

from hgpo.envs.alfworld.names import demangled_names
from hgpo.envs.alfworld.suite import AlfworldSuite

# The package textgame plays the games; some of its names can also be imported from here.
from hgpo.envs.textgame import Episode, Game, GameEnvironment, GameFormatError, compile_game, plain_names

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
