"""A person plays: the lines they type, and the texts they see."""

from __future__ import annotations

import pytest

from hgpo.envs.base import Task
from hgpo.envs.household import HouseholdSuite
from hgpo.envs.play import play


def walkthrough(task: Task) -> tuple[str, ...]:
    return HouseholdSuite().walkthrough(task)


class Terminal:
    """Types the given lines, then Ctrl-D, and keeps what is shown."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.shown: list[str] = []

    def input(self, prompt: str) -> str:
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)

    def play(self, **options) -> bool:
        return play(HouseholdSuite(), input=self.input, output=self.shown.append, **options)


@pytest.fixture
def task():
    return HouseholdSuite().tasks("valid_seen", 3)[2]


def test_the_walkthrough_typed_in_wins(task):
    terminal = Terminal(*walkthrough(task))
    assert terminal.play(split="valid_seen", index=2)
    assert task.instruction in terminal.shown[0] and "in the room: " in terminal.shown[1]
    steps = len(walkthrough(task))
    assert terminal.shown[-1] == f"You won after {steps} steps. The last one was rewarded with 10."


def test_hints_followed_by_number_win(task):
    # Each hint names a command; the menu shown after it names its number, which is then typed.
    terminal = Terminal()

    def answer(prompt: str) -> str:
        last = terminal.shown[-2] if len(terminal.shown) > 1 else ""
        if not last.startswith("Hint: "):
            return "hint"
        for line in terminal.shown[-1].splitlines():
            number, command = line.split(maxsplit=1)
            if command == last.removeprefix("Hint: "):
                return number
        raise AssertionError(f"{last} is not on the menu")

    terminal.input = answer
    assert terminal.play(split="valid_seen", index=2)


def test_ctrl_d_and_quit_end_the_game():
    for lines in ((), ("quit",)):
        terminal = Terminal(*lines)
        assert not terminal.play()
        assert terminal.shown[-1] == "You stopped after 0 steps."


def test_a_number_off_the_menu_takes_no_step_and_an_unknown_text_does():
    terminal = Terminal("99", "", "0", "dance", "quit")
    assert not terminal.play()
    assert "\nnothing happens." in terminal.shown
    assert terminal.shown[-1] == "You stopped after 1 step."


def test_used_up_steps_end_the_game():
    terminal = Terminal(*["sing"] * 15, "sing")
    assert not terminal.play()
    assert "Your steps are used up after 15 steps." in terminal.shown[-1]
    assert terminal.lines == ["sing"]


def test_the_seed_draws_the_training_task():
    first = [Terminal("quit") for _ in range(3)]
    for terminal, seed in zip(first, (0, 0, 1), strict=True):
        terminal.play(seed=seed)
    assert first[0].shown == first[1].shown != first[2].shown


def test_a_task_or_split_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="valid_seen has tasks 0 to 119, not 120"):
        Terminal().play(split="valid_seen", index=120)
    with pytest.raises(ValueError, match="no split 'test': choose from train, valid_seen, valid_unseen"):
        Terminal().play(split="test")
