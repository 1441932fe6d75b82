"""Text games in ALFWorld's game format, played natively: PDDL defines the rules, a text grammar the texts.

The household games and ALFWorld's games have this format.
"""

from hgpo.envs.textgame.engine import Episode, Game, compile_game
from hgpo.envs.textgame.environment import GameEnvironment
from hgpo.envs.textgame.errors import GameFormatError
from hgpo.envs.textgame.names import plain_names

__all__ = ["Episode", "Game", "GameEnvironment", "GameFormatError", "compile_game", "plain_names"]
