"""Chat templates: the Jinja of published checkpoints becomes data that gives the same texts; hostile ones do not."""

import pytest

from tfllm.checks import InputError
from tfllm.messages import message_fault
from tfllm.tokenizers import load_tokenizer
from tfllm.tokenizers.chat import ChatTemplate, default_template, from_jinja

CHATML_WITH_DEFAULT = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_WITH_TOOLS = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant") %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
QWEN_3 = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- if ns.searching and message.role == 'user' and not message.content.startswith('<tool_response>') %}
        {%- set ns.searching = false %}
        {%- set ns.last = messages|length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set thoughts = message.reasoning_content if message.reasoning_content is string else '' %}
        {%- if loop.index0 > ns.last and (loop.last or thoughts) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thoughts + '\\n</think>\\n\\n' + message.content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + message.content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA_31 = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
    "{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
PUBLISHED = {
    "chatml with default": CHATML_WITH_DEFAULT,
    "chatml with tools": CHATML_WITH_TOOLS,
    "llama 2": LLAMA_2,
    "llama 3": LLAMA_3,
    "llama 3.1": LLAMA_31,
    "zephyr": ZEPHYR,
    "gemma": GEMMA,
}
NAMES = {"bos_token": "<s>", "eos_token": "</s>"}
CONVERSATIONS = [
    ["user"],
    ["system", "user"],
    ["user", "assistant", "user"],
    ["system", "user", "assistant", "user", "assistant", "user"],
]
TEXTS = ["Hi!", " two\nlines ", "你好，{{ world }}", "<|im_start|>system\nI am typed</s>", "", "x"]


def messages_of(roles, shift=0):
    return [{"role": role, "content": TEXTS[(place + shift) % len(TEXTS)]} for place, role in enumerate(roles)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_template_gives_the_texts_that_transformers_makes_of_it(name):
    from transformers.utils.chat_template_utils import render_jinja_template

    template = from_jinja(PUBLISHED[name], NAMES)
    assert (template.system is None) == (name == "gemma")
    for shift in range(3):
        for roles in CONVERSATIONS:
            if roles[0] == "system" and template.system is None:
                continue
            for answer in (True, False):
                messages = messages_of(roles, shift)
                [expected], _ = render_jinja_template(
                    conversations=[messages],
                    chat_template=PUBLISHED[name],
                    add_generation_prompt=answer,
                    **NAMES,
                )
                assert template.render(messages, answer=answer) == expected


def test_a_template_with_room_for_thoughts_gives_the_prompts_that_transformers_makes_of_it():
    from transformers.utils.chat_template_utils import render_jinja_template

    template = from_jinja(QWEN_3, NAMES)
    for roles in CONVERSATIONS:
        messages = messages_of(roles)
        if messages[-1]["role"] == "user":
            [expected], _ = render_jinja_template(
                conversations=[messages], chat_template=QWEN_3, add_generation_prompt=True, **NAMES
            )
            assert template.render(messages) == expected
    told = template.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], answer=False)
    assert told == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
    with pytest.raises(InputError, match="otherwise"):
        from_jinja(QWEN_3.replace("message.content.lstrip('\\n')", "message.content | upper"), NAMES)


@pytest.mark.parametrize(
    ("name", "control"),
    [
        ("chatml with tools", {"<|im_start|>", "<|im_end|>"}),
        ("llama 3", {"<s>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}),
        ("zephyr", {"</s>", "<|user|>", "<|assistant|>", "<|system|>"}),
    ],
)
def test_what_may_be_a_token_of_its_own_is_found(name, control):
    assert set(from_jinja(PUBLISHED[name], NAMES).control) == control


def test_the_system_message_a_template_has_by_itself_is_kept():
    template = from_jinja(PUBLISHED["chatml with default"], NAMES)
    assert template.default_system == "You are a helpful assistant"
    assert "Be brief" in template.render([{"role": "system", "content": "Be brief"}, {"role": "user", "content": "a"}])
    assert template.completed([{"role": "user", "content": "a"}])[0]["role"] == "system"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% for message in messages %}", "TemplateSyntaxError"),
        ("{{ 'a' * 10 ** 11 }}", "MemoryError"),
        ("{{ messages.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages[0]['content'] }}", "turns are not alike"),
        ("{% for m in messages %}{{ loop.index }}{{ m.role }}: {{ m.content }}{% endfor %}", "not alike"),
        (PUBLISHED["zephyr"].replace("message['content']", "message['content'] | replace('b', '')"), "otherwise"),
        ("x" * 200_000, "at most"),
    ],
)
def test_a_template_that_is_no_fixed_text_around_messages_is_refused(source, reason):
    with pytest.raises(InputError, match=reason):
        from_jinja(source, NAMES)


def test_a_template_that_does_not_end_is_ended(monkeypatch):
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}" * 1
    monkeypatch.setattr("tfllm.tokenizers.chat.TIMEOUT_SECONDS", 1)
    with pytest.raises(InputError, match="more time or memory"):
        from_jinja(endless + "{% endfor %}{% endfor %}", NAMES)


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([{"role": "user", "content": "a"}], ""),
        ([{"role": "system", "content": "s"}, {"role": "user", "content": "a"}], ""),
        ([], "at least one"),
        ("hello", "list of messages"),
        ([{"role": "user"}], "message 1 must be"),
        ([{"role": "tool", "content": "a"}], "the role 'tool'"),
        ([{"role": "assistant", "content": "a"}], "one of user is due"),
        ([{"role": "user", "content": "a"}] * 2, "message 2 is of the role user"),
        ([{"role": "system", "content": "s"}], "no message of a user"),
    ],
)
def test_messages_take_turns(messages, fault):
    found = message_fault(messages)
    assert fault in found
    assert bool(fault) == bool(found)


def test_a_template_comes_back_with_the_tokenizer_it_was_saved_with(tmp_path, byte_bpe):
    template = from_jinja(PUBLISHED["llama 3"], NAMES)
    byte_bpe.chat_template = template
    try:
        byte_bpe.save(tmp_path / "tokenizer")
    finally:
        byte_bpe.chat_template = None
    assert load_tokenizer(tmp_path / "tokenizer").chat_template == template


WHOLE = '{"begin": "", "system": null, "user": ["", ""], "assistant": ["", ""], "answer": "", %s}'


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", "{", '{"begin": 1}', "nu\\ll", WHOLE % '"control": null', WHOLE % '"stripped": [1]'],
)
def test_a_file_that_is_no_template_is_refused(tmp_path, text):
    (tmp_path / "chat_template.json").write_text(text, "utf-8")
    with pytest.raises(InputError, match="is not a chat template"):
        ChatTemplate.read(tmp_path)


def test_tokenizers_of_ours_mark_turns_with_the_tokens_they_have(tokenizer):
    template = default_template(tokenizer.special_tokens)
    cls, sep, mask = (tokenizer.special_tokens[name] for name in ("cls", "sep", "mask"))
    messages = messages_of(["system", "user", "assistant", "user"])
    assert template.render(messages) == (
        f"{cls}Hi!{mask} two\nlines {sep}你好，{{{{ world }}}}{sep}{mask}<|im_start|>system\nI am typed</s>{sep}"
    )
    assert template.render(messages[1:2]) == f"{cls}{mask} two\nlines {sep}"


def test_a_tokenizer_without_marks_gets_them_in_plain_text():
    template = default_template({"pad": "<|e|>", "cls": "<|e|>", "sep": "<|e|>"})
    assert template.render(messages_of(["user", "assistant", "user"])) == (
        "<|e|>User:\nHi!\nAssistant:\n two\nlines <|e|>\nUser:\n你好，{{ world }}\nAssistant:\n"
    )
    with pytest.raises(InputError, match="a cls and a sep"):
        default_template({"pad": "[PAD]"})
