"""Prompts become tokens, and tokens answers, as each family of models means it.

The templates are short ones of our own that do what those of the family named beside them do.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from byte_models import byte_tokenizer, model_that_writes
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from toy import ToySuite
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3Config,
    GenerationConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from hgpo.agents import LanguageAgent
from hgpo.errors import SettingError
from hgpo.policies import tokens
from hgpo.policies.answers import Answer, begun_by, read_answer
from hgpo.policies.compute import Compute
from hgpo.policies.loading import load_policy, load_with_new_adapter
from hgpo.policies.settings import Lora
from hgpo.policies.tiny import word_tokenizer
from hgpo.policies.tokens import ChatTokenizer, encode_prompts, end_tokens
from hgpo.policies.transformers import TransformersPolicy
from hgpo.policies.vllm import VllmEngine
from hgpo.rollouts.prompts import CommandNumber, CommandText, ThinkAction, Turn
from hgpo.rollouts.rollout import rollout
from hgpo.rollouts.token_lengths import answer_tokens_needed
from hgpo.training.imitation import demonstrations

COMMANDS = ("go to bin", "take mug")


def chat(user="[user]", assistant="[assistant]", end="", begun="") -> str:
    """A chat template that writes these around messages and answers."""
    return (
        "{{ bos_token }}{% for m in messages %}"
        f"{{{{ {user!r} if m.role == 'user' else {assistant!r} }}}}{{{{ m.content }}}}{end}"
        f"{{% endfor %}}{{% if add_generation_prompt %}}{assistant}{begun}{{% endif %}}"
    )


@dataclass(frozen=True)
class Family:
    """A kind of model: its tokenizer, where its answers end, and what its prompts begin."""

    special: tuple[str, ...]
    template: str | None
    eos: str
    ends: tuple[str, ...]
    """As its generation_config has them."""
    begun: str
    turn_end: str
    """What an answer should end with."""


CHATML = {"user": "<|im_start|>user\n", "assistant": "<|im_start|>assistant\n", "end": "<|im_end|>\n"}
IM = ("<|im_start|>", "<|im_end|>")
EMPTY = "<think>\n\n</think>\n\n"
FAMILIES = {
    "R1-Distill": Family(("<|User|>",), chat("<|User|>", "<|Assistant|>", "", "<think>\n"), "<eos>", ("<eos>",), "<think>\n", "<eos>"),
    "Qwen3": Family((*IM, "<eot>"), chat(**CHATML), "<|im_end|>", ("<|im_end|>", "<eot>"), "", "<|im_end|>"),
    "Qwen3 without thinking": Family((*IM, "<eot>"), chat(**CHATML, begun=EMPTY), "<|im_end|>", ("<|im_end|>", "<eot>"), EMPTY, "<|im_end|>"),
    "Qwen3.5, QwQ": Family((*IM, "<think>", "</think>"), chat(**CHATML, begun="<think>\n"), "<|im_end|>", ("<|im_end|>",), "<think>\n", "<|im_end|>"),
    "Gemma": Family(("<turn>", "<end_of_turn>"), chat("<turn>user\n", "<turn>model\n", "<end_of_turn>\n"), "<eos>", ("<eos>", "<end_of_turn>"), "", "<end_of_turn>"),
    "Llama 3": Family(("<|eot_id|>", "<|eom_id|>"), chat("<|h|>user", "<|h|>assistant", "<|eot_id|>"), "<|end_of_text|>", ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"), "", "<|eot_id|>"),
    "Phi-3": Family(("<|user|>", "<|end|>"), chat("<|user|>\n", "<|assistant|>\n", "<|end|>\n"), "<|endoftext|>", ("<|endoftext|>", "<|end|>"), "", "<|end|>"),
    "Magistral": Family(("[INST]", "[/INST]", "[THINK]", "[/THINK]"), chat("[INST]", "", "", "[/INST][THINK]"), "</s>", ("</s>",), "[THINK]", "</s>"),
    "Command A": Family(("<|START_THINKING|>", "<|END_THINKING|>"), chat(begun="<|START_THINKING|>"), "<|END_OF_TURN_TOKEN|>", ("<|END_OF_TURN_TOKEN|>",), "<|START_THINKING|>", "<|END_OF_TURN_TOKEN|>"),
    "Gemma 4": Family(("<turn|>", "<|channel>", "<channel|>"), chat(end="<turn|>", begun="<|channel>thought\n<channel|>"), "<eos>", ("<eos>", "<turn|>"), "<|channel>thought\n<channel|>", "<turn|>"),
    "a base model": Family((), None, "</s>", ("</s>",), "", "</s>"),
}  # fmt: skip


def tokenizer_of(family: Family):
    return byte_tokenizer(
        *family.special, template=family.template, bos_token="<s>", eos_token=family.eos, pad_token="<pad>"
    )


def ids(tokenizer, *tokens: str) -> list[int]:
    return tokenizer.convert_tokens_to_ids(list(tokens))


def chat_tokenizer(family: Family) -> ChatTokenizer:
    tokenizer = tokenizer_of(family)
    ends = end_tokens(tokenizer, GenerationConfig(eos_token_id=ids(tokenizer, *family.ends)))
    return ChatTokenizer(tokenizer, ends)


def policy_that_writes(tokenizer, text: str, *ends: str, **settings) -> TransformersPolicy:
    """A policy whose every answer is this text, of which no token comes twice."""
    model = model_that_writes(tokenizer, tokenizer.encode(text, add_special_tokens=False), **settings)
    if ends:
        model.generation_config = GenerationConfig(eos_token_id=ids(tokenizer, *ends))
    return TransformersPolicy(model, tokenizer)


def greedy(policy, prompts, max_tokens=16):
    return policy.generate(prompts, np.full((len(prompts), max_tokens), 0.5), 0.0)


class TestFamilies:
    @pytest.mark.parametrize("name", FAMILIES)
    def test_what_the_prompt_begins_and_where_the_answer_ends(self, name):
        family = FAMILIES[name]
        found = chat_tokenizer(family)
        assert found.begun == family.begun
        # The tokenizer's own end comes first; the order of the others is the configuration's.
        assert [found.tokenizer.decode([end]) for end in found.ends] == list(family.ends)
        assert found.tokenizer.decode([found.turn_end]) == family.turn_end
        (prompt,) = found.encode(["Where is the bin?"])
        words = found.tokenizer.decode(prompt)
        assert begun_by(words) == family.begun and words.endswith(family.begun or words)
        assert words.count("Where is the bin?") == words.count("<s>") + (family.template is None)

    @pytest.mark.parametrize("name", FAMILIES)
    @pytest.mark.parametrize("response_format", [ThinkAction(), CommandText(), CommandNumber()])
    def test_a_demonstration_is_what_the_model_has_left_to_write(self, name, response_format):
        """It is read as the command that it demonstrates, and goes on from the prompt: no tag comes twice."""
        family = FAMILIES[name]
        found = chat_tokenizer(family)
        tokens = found.encode_response(response_format.answer("take mug", COMMANDS), 200)
        assert [token in found.ends for token in tokens] == [False] * (len(tokens) - 1) + [True]
        assert found.tokenizer.decode(tokens[-1:]) == family.turn_end
        (answer,) = found.answers([tokens])
        assert response_format.parse(answer, COMMANDS).command == "take mug"
        assert response_format.parse(answer, COMMANDS).valid
        (written,) = found.decode([tokens])
        whole = family.begun + written
        opened = sum(whole.count(tag) for tag in ("<think>", "[THINK]", "<|START_THINKING|>", "<|channel>"))
        assert opened == (response_format == ThinkAction() or family.begun != "")

    @pytest.mark.parametrize("name", FAMILIES)
    def test_what_a_model_of_the_family_writes_is_understood(self, name):
        """A thought if the prompt has none, then the action, then the end of a turn, in one forward pass each."""
        family = FAMILIES[name]
        found = chat_tokenizer(family)
        closed = begun_by(family.begun) and read_answer("x", begun=family.begun).text == "x"
        thought = "" if closed else "near </think>" if family.begun else "<think>near </think>"
        written = f"{thought}<action>go to bin</action>"
        tokens = [*found.tokenizer.encode(written, add_special_tokens=False), found.turn_end]
        (answer,) = found.answers([tokens])
        assert ThinkAction().parse(answer, COMMANDS).valid
        assert answer.ended == "stop"
        # Cut off in the thought, it is no action, and the reason is the limit.
        if not closed:
            (cut,) = found.answers([tokens[:6]])
            assert ThinkAction().parse(cut, COMMANDS).invalid == "cut_off"


class TestEnds:
    def test_they_are_the_union_of_what_tokenizer_and_model_say(self):
        tokenizer = byte_tokenizer("<a>", "<b>", "<c>", eos_token="<eos>")
        a, b, c, eos = ids(tokenizer, "<a>", "<b>", "<c>", "<eos>")
        nested = LlamaConfig(vocab_size=len(tokenizer), eos_token_id=c)
        given = (GenerationConfig(eos_token_id=[a, eos]), LlamaConfig(eos_token_id=b), nested)
        assert end_tokens(tokenizer, *given) == (eos, a, b, c)
        assert end_tokens(tokenizer, GenerationConfig()) == (eos,)
        # The class of a configuration may name one that a small vocabulary has not.
        assert end_tokens(tokenizer, GenerationConfig(eos_token_id=50256), None) == (eos,)
        assert end_tokens(byte_tokenizer()) == ()

    @pytest.mark.parametrize(
        ("ends", "settings"),
        [
            ((256, 258), {}),
            ((258,), {}),
            ((), {"eos_token_id": 258}),
            ((), {"eos_token_id": [257, 258]}),
        ],
    )
    def test_an_answer_ends_where_transformers_ends_it(self, ends, settings):
        # 256 bytes, then <eos> and <pad>, then <turn>.
        tokenizer = byte_tokenizer("<turn>", eos_token="<eos>", pad_token="<pad>")
        assert ids(tokenizer, "<eos>", "<pad>", "<turn>") == [256, 257, 258]
        model = model_that_writes(tokenizer, tokenizer.encode("go<turn>"), **settings)
        if ends:
            model.generation_config = GenerationConfig(eos_token_id=list(ends))
        asked = torch.tensor([tokenizer.encode("Hi?")])
        theirs = model.generate(
            asked, attention_mask=torch.ones_like(asked), max_new_tokens=16, do_sample=False, pad_token_id=257
        )
        policy = TransformersPolicy(model, tokenizer)
        (completion,) = greedy(policy, policy.encode(["Hi?"]))
        assert completion.tokens.tolist() == theirs[0, 3:].tolist() == tokenizer.encode("go<turn>")
        assert (completion.answer.text, completion.answer.ended) == ("go", "stop")

    def test_each_configuration_of_a_model_is_asked(self):
        """The one of generation leaves out what those of the model and of its text part name."""
        tokenizer = byte_tokenizer("<turn>", eos_token="<eos>", pad_token="<pad>")
        shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
        text = {**shape, "vocab_size": len(tokenizer), "num_key_value_heads": 1, "head_dim": 16}
        of_parts = Gemma3Config(
            text_config={**text, "eos_token_id": [258], "layer_types": ["full_attention"]},
            vision_config={**shape, "image_size": 28, "patch_size": 14},
        )
        for model in (
            model_that_writes(tokenizer, [5], eos_token_id=[258]),
            AutoModelForCausalLM.from_config(of_parts),
        ):
            model.generation_config = GenerationConfig(eos_token_id=256)
            assert TransformersPolicy(model, tokenizer).chat.ends == (256, 258)

    def test_they_are_kept_by_whatever_is_saved(self, tmp_path):
        tokenizer = byte_tokenizer("<turn>", eos_token="<eos>", pad_token="<pad>")
        policy = policy_that_writes(tokenizer, "go<turn>", "<turn>")
        ends = (256, 258)
        policy.save(tmp_path / "saved")
        load_policy(tmp_path / "saved").save_whole(tmp_path / "whole", torch.float32)
        adapted = load_with_new_adapter(str(tmp_path / "whole"), Compute(), Lora(rank=2), seed=0)
        adapted.save(tmp_path / "adapter")
        adapted.save_whole(tmp_path / "merged", torch.float32)
        for name in ("saved", "whole", "adapter", "merged"):
            loaded = load_policy(tmp_path / name)
            assert set(loaded.chat.ends) == set(ends)
            (completion,) = greedy(loaded, loaded.encode(["Hi?"]))
            assert len(completion.tokens) == 3
        for name in ("saved", "whole", "merged"):
            plain = AutoModelForCausalLM.from_pretrained(tmp_path / name)
            assert set(plain.generation_config.eos_token_id) == set(ends)

    def test_a_gguf_file_has_several(self, tmp_path):
        gguf = pytest.importorskip("gguf")
        write_gguf(gguf, tmp_path / "model.gguf")
        policy = load_policy(tmp_path / "model.gguf")
        names = [policy.tokenizer.convert_ids_to_tokens(end) for end in policy.chat.ends]
        assert names == ["<eos>", "<turn>", "<message>"]
        assert policy.tokenizer.eos_token == "<eos>"
        policy.save(tmp_path / "saved")
        assert load_policy(tmp_path / "saved").chat.ends == policy.chat.ends

    def test_without_any_an_answer_ends_at_the_limit(self):
        policy = policy_that_writes(byte_tokenizer(), "go")
        (completion,) = greedy(policy, policy.encode(["Hi?"]), max_tokens=4)
        assert completion.answer.text == "gooo" and completion.answer.ended == "length"
        assert policy.decode([policy.encode_response("go", 9)]) == ["go"]
        assert answer_tokens_needed(TURNS, policy.chat.encode_answer, CommandNumber()) == 2 + 4


TURNS = [Turn("", (), "a bin", COMMANDS)]


class TestAnswers:
    def test_no_space_is_taken_out_of_them(self):
        """Whole words as tokens, whose tokenizer would write "don't" and "black, white"."""
        words = ["<unk>", "search", "[black", ",", "white", "don", "n't]"]
        backend = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, "<unk>"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=True)
        row = list(range(1, len(words)))
        assert tokenizer.decode(row) == "search [black, white donn't]"
        assert ChatTokenizer(tokenizer, ()).decode([row]) == ["search [black , white don n't]"]

    def test_special_tokens_are_words_but_for_those_that_frame_a_text(self):
        tokenizer = byte_tokenizer(
            "<think>", "</think>", "<action>", "</action>",
            bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        )  # fmt: skip
        found = ChatTokenizer(tokenizer, end_tokens(tokenizer))
        text = "<s><pad><think>near</think><unk><action>go to bin</action></s><action>take mug</action>"
        (answer,) = found.answers([tokenizer.encode(text)])
        assert found.decode([tokenizer.encode(text)]) == ["<think>near</think><action>go to bin</action>"]
        assert ThinkAction().parse(answer, COMMANDS).command == "go to bin"

    def test_nothing_behind_the_first_end_is_read_or_counted(self):
        found = chat_tokenizer(FAMILIES["Llama 3"])
        for end in FAMILIES["Llama 3"].ends:
            row = found.tokenizer.encode(f"go{end}to<|eot_id|>", add_special_tokens=False)
            assert found.length(row) == found.length(np.array(row)) == 3
            assert found.decode([row, np.array(row)]) == ["go", "go"]

    def test_one_that_ends_with_its_last_token_is_complete(self):
        found = chat_tokenizer(FAMILIES["Gemma"])
        rows = [
            found.tokenizer.encode(text, add_special_tokens=False) for text in ("go<eos>", "go", "<pad>", "")
        ]
        assert [answer.ended for answer in found.answers(rows)] == ["stop", "length", "length", "length"]
        assert [found.length(row) for row in rows] == [3, 2, 1, 0]

    def test_the_length_of_answers_is_measured_on_what_is_left_to_write(self):
        # "</think>", two line ends and "#1" are 12 bytes; "<think> </think> <action>take mug</action>" is
        # 42 bytes, of which behind an empty thought only the 25 of the action are left.
        needed = {
            name: [
                answer_tokens_needed(TURNS, chat_tokenizer(FAMILIES[name]).encode_answer, response_format) - 4
                for response_format in (CommandNumber(), ThinkAction())
            ]
            for name in ("R1-Distill", "Qwen3", "Qwen3 without thinking")
        }
        action = len("<action>go to bin</action>")
        assert needed == {
            "R1-Distill": [8 + 2 + 2, 8 + 2 + action],
            "Qwen3": [2, len("<think> </think> ") + action],
            "Qwen3 without thinking": [2, action],
        }


ANSWER = ("<think>", "near", "</think>", "<action>", "take coin", "</action>")
"""Each a token, so that a model can write them one after another."""


def thinker(template: str, *written: str) -> TransformersPolicy:
    """A policy of a model whose tags are special tokens and that writes these, then ends its turn."""
    tokenizer = byte_tokenizer(*ANSWER, "<turn>", template=template, eos_token="<eos>", pad_token="<pad>")
    return policy_that_writes(tokenizer, "".join(written) + "<turn>go on", "<turn>")


class TestEngines:
    @pytest.mark.parametrize(
        ("begun", "written"),
        [("", ANSWER), ("<think>\n", ANSWER[1:]), ("<think>\n\n</think>\n\n", ANSWER[3:])],
    )
    def test_agents_that_think_in_any_way_act_in_rollouts(self, begun, written):
        agent = LanguageAgent(
            thinker(chat(begun=begun), *written),
            ThinkAction(),
            1,
            max_prompt_tokens=900,
            max_response_tokens=9,
        )
        suite = ToySuite(max_steps=3)
        tasks = suite.tasks("train", 2)
        trajectories = rollout(suite, agent, tasks, group_size=2, temperature=1.0, seed=[0])
        assert any(step.decision.action.valid for trajectory in trajectories for step in trajectory.steps)
        for trajectory in trajectories:
            for step in trajectory.steps:
                # The coin is in reach in some rooms only.
                action, answer = step.decision.action, step.decision.completion.answer
                assert action.valid == ("take coin" in step.before.info.admissible_commands)
                assert action.invalid in (None, "not_listed")
                assert answer.thought == ("" if written == ANSWER[3:] else "near")
                assert answer.text == "<action>take coin</action>"
                assert len(step.decision.completion.tokens) == len(written) + 1

    def test_the_warm_start_demonstrates_what_is_left_to_write(self):
        policy = thinker(chat(end="<turn>", begun="<think>\n"), *ANSWER)
        suite = ToySuite()
        rows = demonstrations(
            suite, policy, suite.tasks("train", 2), response_format=ThinkAction(), prompt_history=1,
            max_prompt_tokens=900, max_response_tokens=99,
        )  # fmt: skip
        for row in rows:
            words = policy.tokenizer.decode([*row.prompt, *row.response])
            answer = words.rpartition("[assistant]")[2]
            assert answer.startswith("<think>\n</think>") and answer.endswith("</action><turn>")
            assert answer.count("<think>") == 1

    def test_vllm_is_told_every_end_and_read_in_the_same_way(self, monkeypatch, tmp_path):
        """A stand-in for vLLM that answers with the tokens of the other engine, and keeps what it was told."""
        policy = thinker(chat(begun="<think>\n"), *ANSWER[1:])
        prompts = policy.encode(["Hi?", "Who?"])
        expected = greedy(policy, prompts)
        told = []

        class LLM:
            def __init__(self, **settings):
                del settings

            def generate(self, asked, rows, use_tqdm):
                del use_tqdm
                told.extend(rows)
                assert [tuple(prompt["prompt_token_ids"]) for prompt in asked] == prompts
                outputs = []
                for completion in expected:
                    tokens = completion.tokens.tolist()
                    logprobs = [{token: SimpleNamespace(logprob=-0.5)} for token in tokens]
                    outputs.append(SimpleNamespace(token_ids=tokens, logprobs=logprobs))
                return [SimpleNamespace(outputs=[output]) for output in outputs]

        monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=LLM, SamplingParams=SimpleNamespace))
        engine = VllmEngine(policy, tmp_path, max_tokens=99, memory_share=0.1)
        found = engine.generate(prompts, np.full((2, 16), 0.5), 0.0)
        assert [c.answer for c in found] == [c.answer for c in expected]
        assert found[0].answer == Answer("<action>take coin</action>", "near")
        ends = set(ids(policy.tokenizer, "<eos>", "<turn>"))
        assert [set(row.stop_token_ids) for row in told] == [ends, ends] and told[0].ignore_eos


class TestPrompts:
    def test_plain_ones_begin_as_the_tokenizer_says_and_never_end(self):
        tokenizer = byte_tokenizer(bos_token="<s>", eos_token="</s>")
        s, end = ids(tokenizer, "<s>", "</s>")
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", s), ("</s>", end)]
        )
        assert tokenizer("hi").input_ids[-1] == end
        for text in ("hi", "hi</s>", "hi</s></s>"):
            assert encode_prompts(tokenizer, [text, "x"]) == [
                (s, *tokenizer.encode("hi", add_special_tokens=False)),
                (s, *tokenizer.encode("x", add_special_tokens=False)),
            ]
        assert encode_prompts(tokenizer, []) == []

    @pytest.mark.parametrize("saved", [False, True])
    def test_lines_are_put_into_tokens_once(self, saved, monkeypatch, tmp_path):
        # Line by line or as a whole: the same tokens, also after the tokenizer was saved and when few are kept.
        texts = [
            "You see: a mug.\n\ngo to #3\nanswer:",
            "answer:",
            "",
            "a\n",
            "Go  to\n#3 <unheard>\nanswer:",
        ]
        tokenizer = word_tokenizer(texts[:1], 3)
        whole = [tuple(tokenizer.encode(text)) for text in texts]
        if saved:
            tokenizer.save_pretrained(tmp_path)
            tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        chat, asked, encode = ChatTokenizer(tokenizer, end_tokens(tokenizer)), [], type(tokenizer).__call__

        def counted(self, lines, **settings):
            asked.extend(lines)
            return encode(self, lines, **settings)

        monkeypatch.setattr(type(tokenizer), "__call__", counted)
        assert chat.encode(texts) == chat.encode(texts[::-1])[::-1] == whole
        assert sorted(asked) == sorted({line for text in texts for line in text.split("\n")})
        monkeypatch.setattr(tokens, "MOST_LINES", 0)
        assert chat.encode(texts) == whole

    def test_a_mark_behind_the_text_that_is_no_end_goes_too(self):
        tokenizer = byte_tokenizer("<sep>", bos_token="<s>", eos_token="</s>")
        s, sep = ids(tokenizer, "<s>", "<sep>")
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A <sep>", special_tokens=[("<s>", s), ("<sep>", sep)]
        )
        assert encode_prompts(tokenizer, ["hi"]) == [(s, *tokenizer.encode("hi", add_special_tokens=False))]

    def test_those_of_a_template_never_end_and_begin_once(self):
        # The post-processor would begin the text again.
        template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
        tokenizer = byte_tokenizer(template=template, bos_token="<s>", eos_token="</s>")
        s = ids(tokenizer, "<s>")[0]
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", s)]
        )
        assert tokenizer.decode(encode_prompts(tokenizer, ["hi"])[0]) == "<s>hi"

    def test_any_end_of_the_model_is_taken_off(self):
        tokenizer = byte_tokenizer("<turn>", template="{{ messages[0].content }}<turn></s>", eos_token="</s>")
        policy = policy_that_writes(tokenizer, "go<turn>", "<turn>")
        assert tokenizer.decode(policy.encode(["hi"])[0]) == "hi"

    @pytest.mark.parametrize(
        "begun", ["<|assistant|>\n", "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"]
    )
    def test_a_mark_that_opens_answers_stays_though_it_may_end_one(self, begun):
        """Phi-3's generation_config names <|assistant|> as an end, and its tokens take in the line end."""
        template = (
            "{% for m in messages %}{% if m.role == 'user' %}<|user|>\n{{ m.content }}<|end|>\n"
            f"{begun}{{% else %}}{{{{ m.content }}}}<|end|>\n{{% endif %}}{{% endfor %}}"
        )
        marks = ("<|user|>", "<|assistant|>", "<|end|>")
        tokenizer = byte_tokenizer(
            *(AddedToken(mark, rstrip=True, special=True) for mark in marks),
            template=template,
            eos_token="<|endoftext|>",
        )
        ends = GenerationConfig(eos_token_id=ids(tokenizer, "<|endoftext|>", "<|assistant|>", "<|end|>"))
        found = ChatTokenizer(tokenizer, end_tokens(tokenizer, ends))
        assert tokenizer.decode(found.encode(["hi"])[0]) == "<|user|>hi<|end|><|assistant|>"
        assert tokenizer.decode([found.turn_end]) == "<|end|>"
        (row,) = [tokenizer.encode("go<|assistant|>to", add_special_tokens=False)]
        assert found.decode([row]) == ["go"]


USER = "{% for m in messages %}[{{ m.role }}]"
TEMPLATES = {
    "a text": (USER + "{{ m.content }}{% endfor %}", "[user]hi <b> there"),
    "parts alone": (
        USER + "{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}",
        "[user]hi <b> there",
    ),
    "parts, or an error": (
        USER + "{{ m.content[0]['text'] }}{% endfor %}",
        "[user]hi <b> there",
    ),
    "a text or parts": (
        USER
        + "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %}{% endfor %}",
        "[user]hi <b> there",
    ),
    "a system message first": (
        "{% if messages[0].role != 'system' %}{{ raise_exception('Say who you are') }}{% endif %}"
        + USER
        + "{{ m.content }}{% endfor %}",
        "[system]You play a text game.[user]hi <b> there",
    ),
    "a system message first, of parts": (
        "[{{ messages[0].content[0].text }}]{{ messages[1].content[0].text }}",
        "[You play a text game.]hi <b> there",
    ),
    "no system message": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + USER
        + "{{ m.content | trim }}{% endfor %}",
        "[user]hi <b> there",
    ),
    "escapes": (USER + "{{ m.content | e }}{% endfor %}", "[user]hi &lt;b&gt; there"),
    "one line": (USER + "{{ m.content | replace('\\n', ' ') }}{% endfor %}", "[user]hi <b> there"),
    "today's date": (
        "{{ strftime_now('%d %b %Y') }} " + USER + "{{ m.content }}{% endfor %}",
        "01 Jan 2025 [user]hi <b> there",
    ),
    "several": (
        {"tool_use": "[tools]", "default": "[default]{{ messages[0].content }}"},
        "[default]hi <b> there",
    ),
    "several in a list": (
        [
            {"name": "rag", "template": "[rag]"},
            {"name": "default", "template": "[{{ messages[0].content }}]"},
        ],
        "[hi <b> there]",
    ),
    "one with a name": ({"chat": "[chat]{{ messages[0].content }}"}, "[chat]hi <b> there"),
    "empty": ("", "hi <b> there"),
    "blank": (" \n", "hi <b> there"),
    "none of several": ({}, "hi <b> there"),
}
REFUSALS = {
    "raises": ("{{ raise_exception('Only images\n are welcome') }}", "Only images are welcome"),
    "drops": ("{% for m in messages if m.role == 'human' %}{{ m.content }}{% endfor %}", "leaves out"),
    "ignores": ("hello", "leaves out"),
    "takes no text": (
        "{% for m in messages %}{{ m.content[0].image.url }}{% endfor %}",
        "has no attribute 'image'",
    ),
    "is broken": ("{% for m in messages %}", "Unexpected end of template"),
    "calls what is not there": ("{{ nothing.there() }}", "'nothing' is undefined"),
    "several without a default": ({"tool_use": "a", "rag": "b"}, "tool_use, rag"),
}


class TestTemplates:
    @pytest.mark.parametrize("name", TEMPLATES)
    def test_every_kind_takes_the_prompt(self, name):
        template, expected = TEMPLATES[name]
        tokenizer = byte_tokenizer(template=template)
        asked = "hi <b>\nthere" if name == "one line" else "hi <b> there"
        (prompt,) = encode_prompts(tokenizer, [asked])
        assert tokenizer.decode(prompt) == expected

    @pytest.mark.parametrize("name", REFUSALS)
    def test_one_that_refuses_is_an_error_in_one_line(self, name):
        template, words = REFUSALS[name]
        tokenizer = byte_tokenizer(template=template, name_or_path="owner/model")
        with pytest.raises(SettingError, match=words) as caught:
            ChatTokenizer(tokenizer, ())
        assert "owner/model" in str(caught.value) and "\n" not in str(caught.value)

    def test_one_that_cuts_a_text_is_an_error_when_it_does(self):
        """Some templates drop what stands before a closing tag in any message, not only in answers."""
        template = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}"
        found = ChatTokenizer(byte_tokenizer(template=template), ())
        assert found.tokenizer.decode(found.encode(["go to bin"])[0]) == "go to bin"
        with pytest.raises(SettingError, match="leaves out or changes"):
            found.encode(["Think within <think> </think>."])

    def test_arguments_reach_it(self):
        template = chat(
            begun="{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
        )
        assert ChatTokenizer(byte_tokenizer(template=template), ()).begun == ""
        silent = ChatTokenizer(byte_tokenizer(template=template), (), {"enable_thinking": False})
        assert silent.begun == "<think></think>"
        assert silent.tokenizer.decode(silent.encode(["hi"])[0]) == "[user]hi[assistant]<think></think>"

    def test_a_template_that_is_set_later_counts(self):
        tokenizer = byte_tokenizer()
        found = ChatTokenizer(tokenizer, ())
        assert found.begun == ""
        tokenizer.chat_template = chat(begun="<think>")
        assert found.begun == "<think>"

    def test_the_date_is_one_that_never_changes(self):
        template = "{{ strftime_now('%Y') }}{{ messages[0].content }}"
        assert not str(datetime.now().year).startswith("2025")
        tokenizer = byte_tokenizer(template=template)
        assert tokenizer.decode(encode_prompts(tokenizer, ["hi"])[0]) == "2025hi"


def write_gguf(gguf, path) -> None:
    """A model of Llama's kind with bytes as tokens, in which a text, a turn and a message end differently."""
    letters = byte_tokenizer().convert_ids_to_tokens(range(256))
    tokens = [*letters, "<bos>", "<eos>", "<turn>", "<message>", "ab", "cd"]
    kinds = gguf.TokenType
    width, writer = 32, gguf.GGUFWriter(path, "llama")
    for name, value in {
        "context_length": 64, "embedding_length": width, "block_count": 1, "feed_forward_length": width,
        "head_count": 2, "head_count_kv": 2, "layer_norm_rms_eps": 1e-5, "rope_dimension_count": width // 2,
        "vocab_size": len(tokens), "tokenizer_model": "gpt2", "tokenizer_pre": "default",
        "token_list": tokens, "token_types": [kinds.NORMAL] * 256 + [kinds.CONTROL] * 4 + [kinds.NORMAL] * 2,
        "token_merges": ["a b", "c d"], "bos_token_id": 256, "eos_token_id": 257, "eot_token_id": 258,
        "eom_token_id": 259,
    }.items():  # fmt: skip
        getattr(writer, f"add_{name}")(value)
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes = {
        "token_embd": (len(tokens), width), "output": (len(tokens), width), "output_norm": (width,),
        **{f"blk.0.{name}": (width, width) for name in square},
        **{f"blk.0.{name}": (width,) for name in ("attn_norm", "ffn_norm")},
    }  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
