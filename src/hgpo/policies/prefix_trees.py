"""Sequences that begin alike are read as a tree: what they share is read once.

    task: put the mug … saw: you see a desk ─┬─ did: go to desk ── now: at desk …
                                             └─ did: open drawer ── now: open drawer …

A token attends to its ancestors, and its position is its depth, so that the model says of each branch what it
would say of the branch alone. The prompts of a task's group begin alike, as do the answers to one prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hgpo.policies.batching import split_by_length


@dataclass(frozen=True)
class Tree:
    """Some sequences in one row of the model's input. The nodes with wanted outputs come last."""

    members: tuple[int, ...]
    """The numbers of its sequences."""
    tokens: NDArray[np.int64]
    """Token of each node, [nodes]."""
    depths: NDArray[np.int64]
    """How many ancestors each node has: its position in its sequences, [nodes]."""
    attention_mask: NDArray[np.bool_]
    """Whether a node attends to another: to its ancestors and itself, [nodes, nodes]."""
    outputs: tuple[NDArray[np.int64], ...]
    """The nodes of each member's last tokens, where the model's outputs are wanted."""
    wanted: int
    """How many nodes at the end have outputs that are wanted."""

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Rows:
    """Trees as the model's input, padded on the left to the largest."""

    tokens: Tensor
    """[trees, nodes]."""
    positions: Tensor
    """[trees, nodes]."""
    attention_mask: Tensor
    """[trees, 1, nodes, nodes]; padding attends to itself, because a softmax over nothing is undefined."""
    wanted: int
    """How many nodes at the end of each row have their outputs computed."""


def grow_trees(
    sequences: Sequence[tuple[int, ...]],
    wanted: Sequence[int],
    *,
    attention_scale: float,
    most_nodes: int,
) -> list[Tree]:
    """The sequences as trees, smallest first; each goes where reading it costs least.

    A row of S nodes costs about S (1 + S / c): every node passes the weights, and attends over the row. So
    sequences share a row if what they have in common outweighs the longer row:

        cost(S + new) − cost(S) ≤ cost(length)

    Args:
        sequences: token ids of each, one or more.
        wanted: of each, for how many of its last tokens the model's output is wanted.
        attention_scale: c, the row length at which attention costs as much as the weights.
        most_nodes: nodes that several sequences may have together.
    """

    def cost(nodes: int) -> float:
        return nodes * (1 + nodes / attention_scale)

    trees: list[_Growing] = []
    for number in sorted(range(len(sequences)), key=sequences.__getitem__):
        sequence = np.array(sequences[number], np.int64)
        shared = trees[-1].shared_with(sequence) if trees else 0
        before = len(trees[-1]) if trees else 0
        nodes = before + len(sequence) - shared
        if not shared or nodes > most_nodes or cost(nodes) - cost(before) > cost(len(sequence)):
            trees.append(_Growing())
            shared = 0
        trees[-1].add(number, sequence, shared, wanted[number])
    return sorted((tree.grown() for tree in trees), key=len)


def batches(trees: Sequence[Tree], token_budget: int, call_tokens: float) -> Iterator[Sequence[Tree]]:
    """The trees, given smallest first, in batches; see `split_by_length`."""
    for part in split_by_length([len(tree) for tree in trees], token_budget, call_tokens):
        yield trees[part.start : part.stop]


def as_rows(trees: Sequence[Tree], padding: int) -> Rows:
    """The model's input for some trees; `padding` is any token."""
    width = max(map(len, trees))
    tokens = np.full((len(trees), width), padding, np.int64)
    positions = np.zeros((len(trees), width), np.int64)
    attention_mask = np.zeros((len(trees), 1, width, width), np.bool_)
    attention_mask[:, 0, np.arange(width), np.arange(width)] = True
    for row, tree in enumerate(trees):
        start = width - len(tree)
        tokens[row, start:] = tree.tokens
        positions[row, start:] = tree.depths
        attention_mask[row, 0, start:, start:] = tree.attention_mask
    return Rows(
        torch.from_numpy(tokens),
        torch.from_numpy(positions),
        torch.from_numpy(attention_mask),
        max(tree.wanted for tree in trees),
    )


@dataclass(frozen=True)
class Frontier:
    """Nodes that can be continued by further tokens."""

    tree: NDArray[np.int64]
    """The row of each in the model's input, never falling, [frontier]."""
    output: NDArray[np.int64]
    """The place of each among its row's wanted outputs, [frontier]."""
    depth: NDArray[np.int64]
    """Ancestors of each, [frontier]."""
    attention_mask: NDArray[np.bool_]
    """What of its row each attends to, all that was read so far, [frontier, nodes]."""
    trees: int
    """Rows of the model's input."""

    def grow(
        self, parents: NDArray[np.int64], tokens: NDArray[np.int64], padding: int
    ) -> tuple[Rows, Frontier]:
        """One more token behind some of these nodes: what the model reads besides its cache; a new frontier.

        Args:
            parents: the number of the node behind which each token stands, never falling, [tokens].
            tokens: what is read, [tokens].
            padding: any token.
        """
        tree = self.tree[parents]
        slot = np.arange(len(tree)) - np.searchsorted(tree, tree)
        width, read = int(slot.max()) + 1, self.attention_mask.shape[1]
        ids = np.full((self.trees, width), padding, np.int64)
        positions = np.zeros((self.trees, width), np.int64)
        attention_mask = np.zeros((self.trees, width, read + width), np.bool_)
        attention_mask[:, np.arange(width), read + np.arange(width)] = True
        depth = self.depth[parents] + 1
        ids[tree, slot], positions[tree, slot] = tokens, depth
        attention_mask[tree, slot, :read] = self.attention_mask[parents]
        rows = Rows(
            torch.from_numpy(ids),
            torch.from_numpy(positions),
            torch.from_numpy(attention_mask)[:, None],
            width,
        )
        return rows, Frontier(tree, slot, depth, attention_mask[tree, slot], self.trees)


def frontier_of(trees: Sequence[Tree]) -> Frontier:
    """The last tokens of the trees' members, tree by tree."""
    width, wanted = max(map(len, trees)), max(tree.wanted for tree in trees)
    tree = np.repeat(np.arange(len(trees)), [len(tree.members) for tree in trees])
    node = np.array([outputs[-1] for tree in trees for outputs in tree.outputs])
    start = width - np.array([len(tree) for tree in trees])
    attention_mask = np.zeros((len(tree), width), np.bool_)
    depth = np.empty(len(tree), np.int64)
    for row, grown in enumerate(trees):
        here = tree == row
        attention_mask[here, start[row] :] = grown.attention_mask[node[here]]
        depth[here] = grown.depths[node[here]]
    return Frontier(tree, node + start[tree] - (width - wanted), depth, attention_mask, len(trees))


def outputs_of(
    trees: Sequence[Tree],
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]:
    """Where the wanted outputs are, and the number of each that each member's tokens want, in turn.

    Returns:
        The row and the place among its wanted outputs, [outputs] each, every one once; and for each of the
        members' last tokens, tree by tree, which of these it is, [tokens].
    """
    wanted = np.array([tree.wanted for tree in trees])
    tree = np.repeat(np.arange(len(trees)), wanted)
    first = np.cumsum(wanted) - wanted
    # The wanted nodes of a row are its last, so the first of them is so far from the end.
    place = np.arange(len(tree)) - first[tree] + wanted.max() - wanted[tree]
    of_token = [
        outputs - (len(grown) - grown.wanted) + first[row]
        for row, grown in enumerate(trees)
        for outputs in grown.outputs
    ]
    return (tree, place), np.concatenate(of_token)


class _Growing:
    """A tree to which sequences are added in lexicographic order."""

    def __init__(self) -> None:
        self._members: list[int] = []
        self._paths: list[NDArray[np.int64]] = []
        self._new: list[int] = []
        self._wanted: list[int] = []
        self._last = np.empty(0, np.int64)
        self._tokens: list[NDArray[np.int64]] = []
        self._depths: list[NDArray[np.int64]] = []
        self._nodes = 0

    def __len__(self) -> int:
        return self._nodes

    def shared_with(self, sequence: NDArray[np.int64]) -> int:
        """Tokens at the sequence's start that the tree has already: those of the last one added."""
        common = min(len(sequence), len(self._last))
        differs = np.flatnonzero(sequence[:common] != self._last[:common])
        return int(differs[0]) if len(differs) else common

    def add(self, number: int, sequence: NDArray[np.int64], shared: int, wanted: int) -> None:
        new = len(sequence) - shared
        before = self._paths[-1][:shared] if shared else np.empty(0, np.int64)
        self._paths.append(np.concatenate([before, np.arange(self._nodes, self._nodes + new)]))
        self._members.append(number)
        self._new.append(new)
        self._wanted.append(wanted)
        self._tokens.append(sequence[shared:])
        self._depths.append(np.arange(shared, len(sequence)))
        self._nodes += new
        self._last = sequence

    def grown(self) -> Tree:
        is_wanted = np.zeros(self._nodes, np.bool_)
        attention_mask = np.zeros((self._nodes, self._nodes), np.bool_)
        for path, new, wanted in zip(self._paths, self._new, self._wanted, strict=True):
            is_wanted[path[len(path) - wanted :]] = True
            if new:
                attention_mask[path[-new] : path[-1] + 1, path] = np.tri(
                    new, len(path), len(path) - new, np.bool_
                )
        # Attention follows the mask, so the order in the row is free.
        order = np.argsort(is_wanted, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(self._nodes)
        return Tree(
            members=tuple(self._members),
            tokens=np.concatenate(self._tokens)[order],
            depths=np.concatenate(self._depths)[order],
            attention_mask=attention_mask[np.ix_(order, order)],
            outputs=tuple(
                place[path[len(path) - wanted :]]
                for path, wanted in zip(self._paths, self._wanted, strict=True)
            ),
            wanted=int(is_wanted.sum()),
        )
