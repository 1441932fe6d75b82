"""Makes a language model from scratch for the words of one environment, small enough to train on a laptop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import transformers
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Split

from hgpo.policies.compute import Compute
from hgpo.policies.phrases import WORD, frequent_phrases, tokens_pattern
from hgpo.policies.settings import TinyModel
from hgpo.policies.tokens import WITHIN_LINES
from hgpo.policies.transformers import TransformersPolicy

PAD, UNKNOWN, END = "<pad>", "<unknown>", "<end>"


def word_tokenizer(
    texts: Iterable[str], max_commands: int, phrases: Sequence[str] = ()
) -> transformers.PreTrainedTokenizerFast:
    """A tokenizer with one token for each word, mark and number in `texts`, and for "#1" … "#max".

    Args:
        texts: everything the model may be shown, in any order; words are converted to lower case.
        max_commands: the highest command number that has its own token.
        phrases: phrases of several words, in lower case, that are one token each (see
            `phrases.frequent_phrases`).
    """
    tokenizer = Tokenizer(WordLevel({UNKNOWN: 0}, unk_token=UNKNOWN))
    tokenizer.normalizer = Lowercase()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.pre_tokenizer = Split(Regex(WORD), behavior="removed", invert=True)  # pyright: ignore
    words = set()
    for text in texts:
        words.update(piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text.lower()))
    numbers = [f"#{number}" for number in range(1, max_commands + 1)]
    vocabulary = [PAD, UNKNOWN, END, *numbers, *sorted(words.difference(numbers)), *phrases]
    pattern = Regex(tokens_pattern(phrases))
    tokenizer.pre_tokenizer = Split(pattern, behavior="removed", invert=True)  # pyright: ignore
    tokenizer.model = WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=UNKNOWN)  # pyright: ignore
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        padding_side="left",
        **{WITHIN_LINES: True},
    )


def create_policy(
    texts: Iterable[str],
    shape: TinyModel,
    *,
    max_tokens: int,
    max_commands: int,
    seed: int,
    prompts: Sequence[str] = (),
    compute: Compute | None = None,
) -> TransformersPolicy:
    """An untrained policy with the words of `texts` as vocabulary.

    Args:
        texts: everything the model may be shown.
        shape: the model's size.
        max_tokens: length of the longest sequence, prompt and response together.
        max_commands: the highest command number that has its own token.
        seed: seed of the initial weights.
        prompts: the model's prompts, in realistic proportions, in which frequent phrases are found.
        compute: the device, precision and batch size; None computes on the CPU.
    """
    tokenizer = word_tokenizer(texts, max_commands, frequent_phrases(prompts, shape.merges))
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=3 * shape.hidden_size,
        max_position_embeddings=max_tokens,
        # The usual 0.02 suits wide models; with it, a model as narrow as this one starts to learn too late.
        initializer_range=0.08,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.get_vocab()[PAD],
        eos_token_id=tokenizer.get_vocab()[END],
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.LlamaForCausalLM(config)
    return TransformersPolicy(model, tokenizer, compute)
