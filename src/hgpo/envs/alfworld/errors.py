"""The error for a game that cannot be played."""


class GameFormatError(ValueError):
    """A game file is broken or uses a feature that is not supported; the message says which."""
