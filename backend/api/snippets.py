"""A recorded call as code that one can carry away: curl, Python with OpenAI's client and LangChain, JavaScript.

The token is only ever named by its variable. Values become source through each language's own way of writing them, so that no text breaks
out of its quotes. An address is one that `described.is_address` has let through: it holds no quote.
"""

from __future__ import annotations

import json
import pprint
import shlex
import textwrap
from dataclasses import dataclass
from typing import Any

from backend.api.examples import Call

VARIABLE = "PLAYGROUND_API_TOKEN"
_KEY = f'os.environ.get("{VARIABLE}", "none")'
_OPENAI_FIELDS = frozenset(
    "model messages prompt stream stream_options temperature top_p max_tokens presence_penalty seed stop tools tool_choice "
    "parallel_tool_calls response_format logprobs top_logprobs n".split()
)


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


def _curl(call: Call, address: str) -> str:
    lines = [f"curl -sS{'N' if _streams(call) else ''} '{address}{call.path}'", f'-H "Authorization: Bearer ${VARIABLE}"']
    if call.body is not None:
        lines += ["-H 'Content-Type: application/json'", f"--data-raw {shlex.quote(json.dumps(call.body, ensure_ascii=False, indent=2))}"]
    return " \\\n  ".join(lines) + "\n"


def _streams(call: Call) -> bool:
    return bool((call.body or {}).get("stream"))


def _python(value: Any) -> str:
    """A JSON value as Python source, to stand in a call's arguments."""
    return textwrap.indent(pprint.pformat(value, width=100, sort_dicts=False), "    ").lstrip()


def _arguments(values: dict[str, Any]) -> str:
    own = {name: value for name, value in values.items() if name in _OPENAI_FIELDS}
    extra = {name: value for name, value in values.items() if name not in _OPENAI_FIELDS}
    if extra:  # fields that OpenAI does not have
        own["extra_body"] = extra
    return "".join(f"    {name}={_python(value)},\n" for name, value in own.items())


def _openai(call: Call, address: str) -> str:
    head = f'import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="{address}/v1", api_key={_KEY})\n'
    if call.body is None:
        name = call.path.removeprefix("/v1/models").lstrip("/")
        if name:
            return f"{head}print(client.models.retrieve({name!r}).model_dump_json(indent=2))\n"
        return f"{head}for model in client.models.list():\n    print(model.id, model.model_extra)\n"
    kind = "chat.completions" if call.path.startswith("/v1/chat") else "completions"
    head += f"answer = client.{kind}.create(\n{_arguments(call.body)})\n"
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
    rest = _arguments({name: value for name, value in body.items() if name not in apart})
    bound = f".bind(\n{rest})" if rest else ""
    use = 'for chunk in model.stream(messages):\n    print(chunk.content, end="", flush=True)\n'
    if not body.get("stream"):
        use = "answer = model.invoke(messages)\nprint(answer.content, answer.tool_calls, answer.response_metadata)\n"
    return f"""import os

from langchain_openai import ChatOpenAI

# ChatOpenAI passes on the answer and tool calls; it leaves out reasoning_content
model = ChatOpenAI(model={body["model"]!r}, base_url="{address}/v1", api_key={_KEY}){bound}
messages = {pprint.pformat(body["messages"], width=100, sort_dicts=False)}
{use}"""


def _javascript(call: Call, address: str) -> str:
    if call.body is None:
        options = f"{{ headers: {{ Authorization: `Bearer ${{process.env.{VARIABLE}}}` }} }}"
    else:
        # JSON is JavaScript but for two line separators, which json.dumps leaves as they are
        source = json.dumps(call.body, ensure_ascii=False, indent=2).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
        options = f"""{{
  method: "{call.method}",
  headers: {{ Authorization: `Bearer ${{process.env.{VARIABLE}}}`, "Content-Type": "application/json" }},
  body: JSON.stringify({textwrap.indent(source, "  ").lstrip()}),
}}"""
    head = f'const response = await fetch("{address}{call.path}", {options});\n'
    if not _streams(call):
        return f"{head}console.log(response.status, JSON.stringify(await response.json(), null, 2));\n"
    piece = 'choice.delta.reasoning_content || choice.delta.content || ""' if call.path.startswith("/v1/chat") else "choice.text"
    return f"""{head}if (!response.ok) throw new Error(await response.text());
let rest = "";
const decoder = new TextDecoder();
for await (const bytes of response.body) {{
  const lines = (rest + decoder.decode(bytes, {{ stream: true }})).split("\\n");
  rest = lines.pop();
  for (const line of lines) {{
    if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
    const chunk = JSON.parse(line.slice(6));
    if (chunk.error) throw new Error(chunk.error.message);
    for (const choice of chunk.choices) process.stdout.write({piece});
  }}
}}
"""
