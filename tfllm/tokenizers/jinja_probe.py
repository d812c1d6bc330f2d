"""A program: render a chat template of a published checkpoint for some conversations, in a process of its own.

In, as JSON on standard input: `template`, `names` (the variables a template sees besides the messages), and
`conversations`: pairs of messages and whether the beginning of an answer is asked for. Out, as JSON: for each the text,
or {"error": reason}. A template is somebody else's program: it runs in Jinja's sandbox, with little memory and time.
"""

import json
import resource
import sys

SECONDS, BYTES = 5, 2**30


class _RefusedError(Exception):
    """A template said that it takes no such conversation."""


def _refuse(message):
    raise _RefusedError(message)


def _compile(source):
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    extensions = ["jinja2.ext.loopcontrols"]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.globals["raise_exception"] = _refuse
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
    return environment.from_string(source)


def _render(template, names, messages, answer):
    try:
        return template.render(messages=messages, add_generation_prompt=answer, **names)
    except Exception as error:  # whatever a stranger's template raises
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    request = json.load(sys.stdin)
    try:
        template = _compile(request["template"])
    except Exception as error:
        found = [{"error": f"{type(error).__name__}: {error}"}] * len(request["conversations"])
    else:
        found = [_render(template, request["names"], *one) for one in request["conversations"]]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
