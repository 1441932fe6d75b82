"""Prefix trees: sequences with a common prefix become one tree, so that the model processes the prefix once.

    task: put the mug … saw: you see a desk ─┬─ did: go to desk ── now: at desk …
                                             └─ did: open drawer ── now: open drawer …

A token attends to its ancestors, and its position is its depth, so the model's outputs for a branch are the
same as for the branch alone. The prompts of one task have a common prefix, as do all answers to one prompt.
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
    """Several sequences in one row of the model's input. The nodes with wanted outputs come last."""

    members: tuple[int, ...]
    """The indices of its sequences."""
    tokens: NDArray[np.int64]
    """Token of each node, [nodes]."""
    depths: NDArray[np.int64]
    """Number of ancestors of each node, which is its position in its sequences, [nodes]."""
    attention_mask: NDArray[np.bool_]
    """Whether one node attends to another: each attends to its ancestors and itself, [nodes, nodes]."""
    outputs: tuple[NDArray[np.int64], ...]
    """For each member, the nodes of its last tokens, whose outputs are wanted."""
    wanted: int
    """Number of nodes with wanted outputs; they are the last ones."""

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Rows:
    """Trees as the model's input, padded on the left to the size of the largest."""

    tokens: Tensor
    """Token ids, [trees, nodes]."""
    positions: Tensor
    """Position of each token in its sequences, [trees, nodes]."""
    attention_mask: Tensor
    """[trees, 1, nodes, nodes]; padding attends to itself, because a softmax over nothing is undefined."""
    wanted: int
    """Number of nodes at the end of each row whose outputs are computed."""


def grow_trees(
    sequences: Sequence[tuple[int, ...]],
    wanted: Sequence[int],
    *,
    attention_scale: float,
    most_nodes: int,
) -> list[Tree]:
    """The sequences as trees, smallest first; each sequence is added where it costs the least computation.

    A row of S nodes costs about S (1 + S / c): every node passes through the weights and attends to the row.
    Sequences therefore share a row if their common prefix saves more than the longer row costs:

        cost(S + new) − cost(S) ≤ cost(length)

    Args:
        sequences: token ids of each sequence, at least one.
        wanted: for each sequence, the number of its last tokens for which the model's output is wanted.
        attention_scale: c, the row length at which attention costs as much as the weights.
        most_nodes: largest number of nodes in a tree of several sequences.
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
    """The trees, which are sorted by size, in batches; see `split_by_length`."""
    for part in split_by_length([len(tree) for tree in trees], token_budget, call_tokens):
        yield trees[part.start : part.stop]


def as_rows(trees: Sequence[Tree], padding: int) -> Rows:
    """The model's input for these trees; `padding` is any token."""
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
    """Each node's row in the model's input, in ascending order, [frontier]."""
    output: NDArray[np.int64]
    """Each node's index among the wanted outputs of its row, [frontier]."""
    depth: NDArray[np.int64]
    """Number of ancestors of each node, [frontier]."""
    attention_mask: NDArray[np.bool_]
    """Which of the nodes processed so far in its row each node attends to, [frontier, nodes]."""
    trees: int
    """Number of rows of the model's input."""

    def grow(
        self, parents: NDArray[np.int64], tokens: NDArray[np.int64], padding: int
    ) -> tuple[Rows, Frontier]:
        """Continue some of these nodes by one token each: the model's next input, and the new frontier.

        Args:
            parents: index of the node that each token follows, in ascending order, [tokens].
            tokens: the new tokens, [tokens].
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

    def beside(self, other: Frontier) -> Frontier:
        """The nodes of both; the other's rows come after these, and shorter rows are padded on the left."""
        longest = max(self.attention_mask.shape[1], other.attention_mask.shape[1])
        masks = [
            np.pad(each.attention_mask, ((0, 0), (longest - each.attention_mask.shape[1], 0)))
            for each in (self, other)
        ]
        return Frontier(
            np.concatenate([self.tree, self.trees + other.tree]),
            np.concatenate([self.output, other.output]),
            np.concatenate([self.depth, other.depth]),
            np.concatenate(masks),
            self.trees + other.trees,
        )

    def only(self, nodes: NDArray[np.int64]) -> tuple[Frontier, NDArray[np.int64], NDArray[np.int64]]:
        """Some of these nodes alone, with the processed nodes that they attend to.

        Args:
            nodes: indices of the nodes to keep, in ascending order.

        Returns:
            The new frontier; the rows that are left, [rows]; and which of a row's processed nodes are kept,
            [rows, nodes]. Rows with fewer than the maximum also keep some that no node attends to, first.
        """
        rows, tree = np.unique(self.tree[nodes], return_inverse=True)
        attended = np.zeros((len(rows), self.attention_mask.shape[1]), np.bool_)
        np.logical_or.at(attended, tree, self.attention_mask[nodes])
        # Sorting is stable, so that the attended nodes come last and in order.
        width = attended.sum(axis=1).max()
        places = np.argsort(attended, axis=1, kind="stable")[:, attended.shape[1] - width :]
        mask = np.take_along_axis(self.attention_mask[nodes], places[tree], axis=1)
        return Frontier(tree, self.output[nodes], self.depth[nodes], mask, len(rows)), rows, places


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
    """Where the wanted outputs are, and which of them belongs to each of the members' last tokens.

    Returns:
        For each wanted output, its row and its index among the row's wanted outputs, [outputs] each; and for
        each of the members' last tokens, tree by tree, the index of its output in that list, [tokens].
    """
    wanted = np.array([tree.wanted for tree in trees])
    tree = np.repeat(np.arange(len(trees)), wanted)
    first = np.cumsum(wanted) - wanted
    # A row's wanted nodes are its last ones. Rows with fewer than the maximum start at a later index.
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
        """Length of the prefix that the sequence shares with the sequence that was added last."""
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
        # The mask alone decides what a node attends to, so nodes may be in any order.
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
