"""Errors that a user can mend, told apart from faults of the program."""


class SettingError(ValueError):
    """A setting that cannot work; the message is one line with what to change."""
