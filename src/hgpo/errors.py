"""Errors that a user can fix, told apart from faults of the program."""


class SettingError(ValueError):
    """A setting that cannot work; the message is one line with what to change."""


class RunError(RuntimeError):
    """A run that cannot go on; the message is one line with why and what to do."""
