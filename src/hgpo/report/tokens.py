"""Token ids as text, by the tokenizer of a folder, without the packages that training needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class TokenReader:
    """How token ids are shown."""

    text: Callable[[Sequence[int]], str]
    """The text of a sequence of ids."""
    pieces: Callable[[Sequence[int]], list[str]]
    """The part of the text that each id adds; "" for an id whose character only a later one completes."""


def _numbers(ids: Sequence[int]) -> list[str]:
    return [f"{number} " for number in ids]


AS_NUMBERS = TokenReader(lambda ids: "".join(_numbers(ids)).rstrip(), _numbers)
"""For rollouts without a tokenizer."""


def token_reader(folder: Path) -> TokenReader:
    """The reader of the tokenizer in a folder in transformers' format.

    Without a file tokenizer.json, which holds a fast tokenizer, transformers reads the folder.
    """
    if not (folder / TOKENIZER).exists():
        from transformers import AutoTokenizer

        slow = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return TokenReader(slow.decode, lambda ids: [slow.decode([number]) for number in ids])
    from tokenizers import Tokenizer
    from tokenizers.decoders import DecodeStream

    fast = Tokenizer.from_file(str(folder / TOKENIZER))

    def pieces(ids: Sequence[int]) -> list[str]:
        stream = DecodeStream(skip_special_tokens=False)
        return [stream.step(fast, number) or "" for number in ids]

    return TokenReader(lambda ids: fast.decode(list(ids), skip_special_tokens=False), pieces)
