"""An environment of one's own on one page: fetch the key, then open the door.

hgpo env check examples/own_environment.py:Suite
hgpo train env:examples/own_environment.py:Suite --iterations 40
"""

from dataclasses import dataclass
from itertools import permutations

from hgpo.envs import from_class

ROOMS = ("attic", "cellar", "garden", "hall", "kitchen", "library", "pantry", "study")


@dataclass
class KeyAndDoor:
    """Rooms in a row. The key lies in one of them, the door is in another."""

    rooms: int = 6
    """How many rooms there are, 3 to 8."""

    def reset(self, task):
        """Start a task, which says in which rooms the player, the key and the door are."""
        self.room, self.key, self.door, self.holds_key = *task, False
        return self._observation()

    def step(self, command):
        """Carry out a command: observation, reward, and whether the task has ended."""
        self.room += {"go right": 1, "go left": -1}.get(command, 0)
        self.holds_key = self.holds_key or command == "take key"
        opened = command == "open door"
        return "the door is open." if opened else self._observation(), 10.0 * opened, opened

    def commands(self):
        """What can be done in this room."""
        here = {"go left": self.room > 0, "go right": self.room < self.rooms - 1}
        here["take key"] = self.room == self.key and not self.holds_key
        here["open door"] = self.room == self.door and self.holds_key
        return [command for command, possible in here.items() if possible]

    def _observation(self):
        return f"you are in the {ROOMS[self.room]}. you hold {'the key' if self.holds_key else 'nothing'}."


def walkthrough(task):
    """The shortest way: to the key, then to the door."""
    start, key, door = task
    legs = [(start, key, "take key"), (key, door, "open door")]
    return [c for a, b, last in legs for c in ["go right" if b > a else "go left"] * abs(b - a) + [last]]


Suite = from_class(
    KeyAndDoor,
    tasks=lambda rooms: list(permutations(range(rooms), 3)),
    instruction=lambda task: f"take the key in the {ROOMS[task[1]]}, open the door in the {ROOMS[task[2]]}",
    walkthrough=walkthrough,
    max_steps=20,
    name="key_and_door",
)
