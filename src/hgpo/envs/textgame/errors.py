"""The error for a game that cannot be played."""

from hgpo.errors import SettingError


class GameFormatError(SettingError):
    """A game file is broken or uses a feature that is not supported; the message says which."""
