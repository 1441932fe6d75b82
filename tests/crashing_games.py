"""A game whose commands do what no environment should."""

from __future__ import annotations

import ctypes
import os
import time
from dataclasses import dataclass

from hgpo.envs import from_class


@dataclass
class Crashing:
    """Ends with "win"; the other commands end the process, or do not end."""

    patience: float = 30.0
    """Seconds that "wait" takes."""

    def reset(self, task):
        return f"process {os.getpid()}"

    def step(self, command):
        if command == "fault":
            ctypes.string_at(0)
        if command == "exit":
            os._exit(3)
        if command == "wait":
            time.sleep(self.patience)
        if command == "raise":
            raise OSError("the simulator is gone")
        return f"process {os.getpid()}", float(command == "win"), command == "win"

    def commands(self):
        return ["win", "stay", "fault", "exit", "wait", "raise"]


Suite = from_class(Crashing, tasks=["a", "b", "c"], walkthrough=lambda task: ["win"], name="crashing")
