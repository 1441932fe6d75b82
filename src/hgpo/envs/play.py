"""Lets a person play a task in the terminal."""

from __future__ import annotations

from collections.abc import Callable

from hgpo.envs.base import Info, TaskSuite, tasks_of
from hgpo.envs.commands import WORDS, fill, takes_words
from hgpo.envs.episode import TimeStep, play_episode
from hgpo.envs.faults import checked

HELP = (
    "Type a number or a command; hint shows the next step of the walkthrough, quit ends. Where a command has "
    f"{WORDS}, write words of your own after its number."
)


def play(
    suite: TaskSuite,
    split: str | None = None,
    index: int = 0,
    seed: int = 0,
    input: Callable[[str], str] = input,
    output: Callable[[str], object] = print,
) -> bool:
    """Play one task, with numbered commands to choose from. Returns whether it was won.

    **Arguments:**

    - split: the split; None is the suite's training split.
    - index: index of the task in the split, or among the training tasks drawn by `seed`.
    - input: reads a line, as `input` does; EOFError (Ctrl-D) ends the game.
    - output: prints a text.
    """
    split = suite.splits[0] if split is None else split
    if split not in suite.splits:
        raise ValueError(f"no split {split!r}: choose from {', '.join(suite.splits)}")
    tasks = tasks_of(suite, split, index + 1 if split == suite.splits[0] else None, seed)
    if not 0 <= index < len(tasks):
        raise ValueError(f"{split} has tasks 0 to {len(tasks) - 1}, not {index}")
    task = tasks[index]
    output(f"{task.id} ({task.kind})\n{HELP}\n\nYour task: {task.instruction}")
    given: list[str] = []

    def choose(now: TimeStep) -> str | None:
        """The command that the person chooses; None to stop."""
        output(f"\n{checked(now).observation}")
        while True:
            output(_menu(now.info))
            try:
                line = input("> ").strip()
            except (EOFError, KeyboardInterrupt):
                return None
            if line == "quit":
                return None
            command = None if line == "hint" else _chosen(line, now.info)
            if command is not None:
                return command
            output(_hint(suite.walkthrough(task), given) if line == "hint" else HELP)

    last: TimeStep | None = None
    for step in play_episode(suite.make(), task, choose, seed):
        given.append(step.command)
        last = checked(step.after)
    if last is None or not last.over:
        output(f"You stopped after {_steps(given)}.")
        return False
    output(f"\n{last.observation}")
    how = "You won" if last.info.won else "Your steps are used up" if last.truncated else "It is over"
    output(f"{how} after {_steps(given)}. The last one was rewarded with {last.reward:g}.")
    return last.info.won


def _steps(given: list[str]) -> str:
    return "1 step" if len(given) == 1 else f"{len(given)} steps"


def _menu(info: Info) -> str:
    return "\n".join(f"{number:4d}  {command}" for number, command in enumerate(info.admissible_commands, 1))


def _chosen(line: str, info: Info) -> str | None:
    """The command that a line stands for; None if it is empty, or a number that is not in the menu."""
    number, _, words = line.partition(" ")
    if not (number.isascii() and number.isdigit()):
        return line or None
    if not 0 < int(number) <= len(info.admissible_commands):
        return None
    command = info.admissible_commands[int(number) - 1]
    return fill(command, words) if takes_words(command) == bool(words) else None


def _hint(walkthrough: tuple[str, ...] | None, given: list[str]) -> str:
    """The walkthrough's next command, as long as it was followed; other commands are ignored."""
    if walkthrough is None:
        return "No walkthrough of this task is known."
    done = 0
    for command in given:
        if done < len(walkthrough) and command == walkthrough[done]:
            done += 1
    if done == len(walkthrough):
        return "The walkthrough is used up: your other commands have changed the game."
    return f"Hint: {walkthrough[done]}"
