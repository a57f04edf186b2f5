"""A recorded call as code that one can carry away: curl, Python with OpenAI's client and LangChain, JavaScript.

The token is only ever named by its variable. Values become source through each language's own way of writing them, so that no text breaks
out of its quotes. An address is one that `described.is_address` has let through: it holds no quote.
"""

from __future__ import annotations

import json
import shlex
import textwrap
from dataclasses import dataclass
from typing import Any

from backend.api.examples import Call
from backend.snippets import javascript_reader, javascript_value, openai_arguments, python_value

VARIABLE = "PLAYGROUND_API_TOKEN"
_KEY = f'os.environ.get("{VARIABLE}", "none")'


@dataclass(frozen=True, slots=True)
class Snippet:
    """`language` is the name that a highlighter knows."""

    title: str
    language: str
    text: str


def snippets(call: Call, address: str) -> list[Snippet]:
    """What applies to this call, curl first."""
    made = [Snippet("curl", "bash", _curl(call, address))]
    if call.path.startswith("/v1/") and call.path != "/v1/embeddings":
        made.append(Snippet("Python, openai", "python", _openai(call, address)))
    if call.path == "/v1/chat/completions":
        made.append(Snippet("Python, LangChain", "python", _langchain(call.body or {}, address)))
    return [*made, Snippet("JavaScript", "javascript", _javascript(call, address))]


def calling_snippets(model: str, prompt: str, address: str) -> list[Snippet]:
    """A streamed question to `model`, to begin with."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True}
    return snippets(Call(name="", title="", answered_by="api", path="/v1/chat/completions", body=body), address)


def _curl(call: Call, address: str) -> str:
    lines = [f"curl -sS{'N' if _streams(call) else ''} '{address}{call.path}'", f'-H "Authorization: Bearer ${VARIABLE}"']
    if call.body is not None:
        lines += ["-H 'Content-Type: application/json'", f"--data-raw {shlex.quote(json.dumps(call.body, ensure_ascii=False, indent=2))}"]
    return " \\\n  ".join(lines) + "\n"


def _streams(call: Call) -> bool:
    return bool((call.body or {}).get("stream"))


def _openai(call: Call, address: str) -> str:
    head = f'import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="{address}/v1", api_key={_KEY})\n'
    if call.body is None:
        name = call.path.removeprefix("/v1/models").lstrip("/")
        if name:
            return f"{head}print(client.models.retrieve({name!r}).model_dump_json(indent=2))\n"
        return f"{head}for model in client.models.list():\n    print(model.id, model.model_extra)\n"
    kind = "chat.completions" if call.path.startswith("/v1/chat") else "completions"
    head += f"answer = client.{kind}.create(\n{openai_arguments(call.body)})\n"
    if not _streams(call):
        return f"{head}print(answer.choices[0].model_dump_json(indent=2))\n"
    if kind == "completions":
        return f'{head}for chunk in answer:\n    for choice in chunk.choices:\n        print(choice.text, end="", flush=True)\n'
    return f"""{head}for chunk in answer:
    for choice in chunk.choices:
        print(getattr(choice.delta, "reasoning_content", None) or choice.delta.content or "", end="", flush=True)
"""


def _langchain(body: dict[str, Any], address: str) -> str:
    apart = ("model", "messages", "stream", "stream_options")
    rest = openai_arguments({name: value for name, value in body.items() if name not in apart})
    bound = f".bind(\n{rest})" if rest else ""
    use = 'for chunk in model.stream(messages):\n    print(chunk.content, end="", flush=True)\n'
    if not body.get("stream"):
        use = "answer = model.invoke(messages)\nprint(answer.content, answer.tool_calls, answer.response_metadata)\n"
    return f"""import os

from langchain_openai import ChatOpenAI

# ChatOpenAI passes on the answer and tool calls; it leaves out reasoning_content
model = ChatOpenAI(model={body["model"]!r}, base_url="{address}/v1", api_key={_KEY}){bound}
messages = {python_value(body["messages"], 0)}
{use}"""


def _javascript(call: Call, address: str) -> str:
    if call.body is None:
        options = f"{{ headers: {{ Authorization: `Bearer ${{process.env.{VARIABLE}}}` }} }}"
    else:
        options = f"""{{
  method: "{call.method}",
  headers: {{ Authorization: `Bearer ${{process.env.{VARIABLE}}}`, "Content-Type": "application/json" }},
  body: JSON.stringify({textwrap.indent(javascript_value(call.body), "  ").lstrip()}),
}}"""
    head = f'const response = await fetch("{address}{call.path}", {options});\n'
    if not _streams(call):
        return f"{head}console.log(response.status, JSON.stringify(await response.json(), null, 2));\n"
    piece = 'choice.delta.reasoning_content || choice.delta.content || ""' if call.path.startswith("/v1/chat") else "choice.text"
    return head + javascript_reader(piece)
