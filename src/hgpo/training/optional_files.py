"""Files that a run does not depend on: if one cannot be written, the run reports it and continues."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from hgpo.errors import RunError
from hgpo.files import reason

LEFT_OUT, TRIED_AGAIN = "it is left out", "it is tried again with what comes next"
"""What happens to a file that cannot be written."""


class OptionalFiles:
    """Writes files, and reports each name that fails once."""

    def __init__(self, say: Callable[[str], None], save_state: Callable[[], None]) -> None:
        """Prepare to write; no file is written yet.

        Args:
            say: shows a message.
            save_state: saves the run; called at the first failure of each name, because the disk may be
                completely full later. If it raises a RunError, the error is ignored.
        """
        self._say, self._save_state = say, save_state
        self._failed: set[str] = set()

    def write(self, name: str, write: Callable[[], None], otherwise: str) -> None:
        """Write a file.

        Args:
            name: name of the file in messages.
            write: writes the file.
            otherwise: what happens to the file if it cannot be written, `LEFT_OUT` or `TRIED_AGAIN`.
        """
        try:
            write()
        except OSError as error:
            if name in self._failed:
                return
            self._failed.add(name)
            self._say(f"{name} cannot be written ({reason(error)}): {otherwise}, and the run continues")
            with suppress(RunError):
                self._save_state()
