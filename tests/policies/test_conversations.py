"""Conversations and tools in prompts, and tool calls in answers."""

from __future__ import annotations

import json

import pytest
from byte_models import byte_tokenizer

from hgpo.errors import SettingError
from hgpo.policies.tokens import ChatTokenizer
from hgpo.policies.tool_calls import ToolCall, read_tool_calls

TEMPLATE = """
{%- if tools %}<|tools|>{{ tools | map(attribute="function") | map(attribute="name") | join(",") }}
  as <tool_call>{"name": …}</tool_call>
{%- endif %}
{%- for message in messages %}<|{{ message.role }}|>{{ message.content }}
  {%- for call in message.tool_calls or [] %}
    {%- for name, value in call.function.arguments.items() %}[{{ name }}={{ value }}]{% endfor %}
  {%- endfor %}<|end|>
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""
CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
ADD = {"type": "function", "function": {"name": "add"}}


def chat(template):
    special = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")
    tokenizer = byte_tokenizer(*special, template=template)
    tokenizer.eos_token = "<|end|>"
    return ChatTokenizer(tokenizer, [tokenizer.convert_tokens_to_ids("<|end|>")])


def text(tokenizer, *said, tools=()):
    messages = [dict(zip(("role", "content", "tool_calls"), each, strict=False)) for each in said]
    return tokenizer.tokenizer.decode(tokenizer.encode_conversation(messages, tools))


def test_one_message_of_a_user_has_the_same_tokens_as_the_built_in_prompt():
    for template in (TEMPLATE, None):
        tokenizer = chat(template)
        message = {"role": "user", "content": "go\nnorth"}
        assert tokenizer.encode_conversation([message]) == tokenizer.encode(["go\nnorth"])[0]


def test_a_conversation_is_shown_by_the_template_with_tools_and_the_values_of_calls():
    said = [("system", "s"), ("user", "u"), ("assistant", "", [CALL]), ("tool", "2")]
    assert text(chat(TEMPLATE), *said, tools=[ADD]) == (
        '<|tools|>add\n  as <tool_call>{"name": …}</tool_call><|system|>s<|end|><|user|>u<|end|>'
        "<|assistant|>[a=1]<|end|><|tool|>2<|end|><|assistant|>"
    )


def test_without_a_template_contents_are_lines():
    assert text(chat(None), ("system", "s"), ("user", "u"), ("assistant", "a")) == "s\nu\na"


def test_what_a_template_cannot_show_is_told():
    with pytest.raises(SettingError, match="no chat template, which would show it the tools"):
        text(chat(None), ("user", "u"), tools=[ADD])
    with pytest.raises(SettingError, match="has no place for tools"):
        text(chat("{% for m in messages %}{{ m.content }}{% endfor %}"), ("user", "u"), tools=[ADD])
    picky = "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{{ m.content }}{% endfor %}"
    with pytest.raises(SettingError, match="does not take these messages: no tools"):
        text(chat(picky), ("user", "u"), ("tool", "t"))


def call(arguments):
    return json.dumps({"name": "add", "arguments": arguments})


@pytest.mark.parametrize(
    "template, written, rest, calls",
    [
        ("<tool_call>", f"so <tool_call>\n{call({'a': 1})}\n</tool_call>", "so", ['{"a": 1}']),
        (
            "<tool_call>",
            f"<tool_call>{call({})}</tool_call><tool_call>{call({'b': 'ü'})}",
            "",
            ["{}", '{"b": "ü"}'],
        ),
        ("<tool_call>", "<tool_call>{nonsense</tool_call>", "<tool_call>{nonsense</tool_call>", []),
        ("<tool_call>", f"<tool_call>{call([1])}</tool_call>", f"<tool_call>{call([1])}</tool_call>", []),
        ("<tool_call>", "the answer is 3", "the answer is 3", []),
        ("[TOOL_CALLS]", f"[TOOL_CALLS] [{call({'a': 1})}]", "", ['{"a": 1}']),
        ('"parameters"', '{"name": "add", "parameters": {"a": 1}}', "", ['{"a": 1}']),
        ('"parameters"', "no call", "no call", []),
        ("plain", f"<tool_call>{call({})}</tool_call>", f"<tool_call>{call({})}</tool_call>", []),
    ],
)
def test_tool_calls_are_read_in_the_syntax_of_the_template(template, written, rest, calls):
    found = read_tool_calls(written, template)
    assert found == (rest, tuple(ToolCall("add", arguments) for arguments in calls))
