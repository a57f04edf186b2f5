"""The exact request as JSON, and the same call as code one can carry away. A key is only ever named by its variable.

Knows the protocols' bodies (`providers.bodies`) and where an engine stands (`Place`); sends nothing.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.catalogue import Capabilities
from backend.providers.bodies import compatible_body, message_json, native_body
from backend.providers.connection import shown_address
from backend.tool_calls import tool_json
from backend.types import ChatRequest

DASHSCOPE_VARIABLE, SERVER_VARIABLE = "DASHSCOPE_API_KEY", "OPENAI_API_KEY"
_OPENAI_FIELDS = frozenset(
    "model messages prompt stream stream_options temperature top_p max_tokens presence_penalty frequency_penalty seed stop n tools "
    "tool_choice parallel_tool_calls response_format logprobs top_logprobs".split()
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine stands: `base_url` is DashScope's host, or a server's address up to `/v1`."""

    engine: str
    base_url: str = ""


@dataclass(frozen=True, slots=True)
class Snippet:
    title: str
    text: str


def snippets(request: ChatRequest, capabilities: Capabilities, place: Place) -> list[Snippet]:
    """What applies to this engine, the exact JSON first; a recording has no request."""
    address = shown_address(place.base_url)
    match place.engine:
        case "dashscope":
            return _dashscope(request, capabilities, address)
        case "server":
            return _server(request, capabilities, address)
        case "local":
            return [Snippet("Python transformers", _transformers(request))]
        case _:
            return []


def _dashscope(request: ChatRequest, capabilities: Capabilities, host: str) -> list[Snippet]:
    compatible, native = compatible_body(request, capabilities), native_body(request, capabilities)
    address, native_url = f"{host}/compatible-mode/v1", f"{host}/api/v1/services/aigc/text-generation/generation"
    return [
        Snippet("JSON", _json(compatible)),
        Snippet("JSON, native", _json(native)),
        Snippet("curl", _curl(f"{address}/chat/completions", compatible, DASHSCOPE_VARIABLE)),
        Snippet("curl, native", _curl(native_url, native, DASHSCOPE_VARIABLE, "X-DashScope-SSE: enable")),
        Snippet("Python openai", _openai(compatible, address, DASHSCOPE_VARIABLE)),
        Snippet("Python dashscope", _dashscope_sdk(native, f"{host}/api/v1")),
        Snippet("JavaScript", _javascript(compatible, f"{address}/chat/completions", DASHSCOPE_VARIABLE)),
    ]


def _server(request: ChatRequest, capabilities: Capabilities, address: str) -> list[Snippet]:
    body = compatible_body(request, capabilities)
    return [
        Snippet("JSON", _json(body)),
        Snippet("curl", _curl(f"{address}/chat/completions", body, SERVER_VARIABLE)),
        Snippet("Python openai", _openai(body, address, SERVER_VARIABLE)),
        Snippet("JavaScript", _javascript(body, f"{address}/chat/completions", SERVER_VARIABLE)),
    ]


def _json(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False, indent=2)


def _curl(url: str, body: Any, variable: str, *headers: str) -> str:
    lines = [f"curl -N {shlex.quote(url)}", f'-H "Authorization: Bearer ${variable}"', "-H 'Content-Type: application/json'"]
    lines += [f"-H {shlex.quote(header)}" for header in headers]
    lines.append(f"--data-raw {shlex.quote(_json(body))}")
    return " \\\n  ".join(lines)


def python_value(value: Any, indent: int = 4) -> str:
    """A JSON value as Python source, to stand `indent` spaces deep."""
    inner, outer = " " * (indent + 4), " " * indent
    if isinstance(value, dict) and value:
        rows = "".join(f"{inner}{key!r}: {python_value(item, indent + 4)},\n" for key, item in value.items())
        return f"{{\n{rows}{outer}}}"
    if isinstance(value, list) and value:
        return f"[\n{''.join(f'{inner}{python_value(item, indent + 4)},{chr(10)}' for item in value)}{outer}]"
    return repr(value)


def openai_arguments(body: Mapping[str, Any]) -> str:
    """The lines of a call of the openai client; fields that OpenAI does not have go along in `extra_body`."""
    own = {name: value for name, value in body.items() if name in _OPENAI_FIELDS}
    extra = {name: value for name, value in body.items() if name not in _OPENAI_FIELDS}
    rows = {**own, "extra_body": extra} if extra else own
    return "".join(f"    {name}={python_value(value)},\n" for name, value in rows.items())


def javascript_value(value: Any) -> str:
    """JSON is valid JavaScript but for two line separators, which json.dumps leaves as they are."""
    return _json(value).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _openai(body: dict[str, Any], address: str, variable: str) -> str:
    key = f'os.environ["{variable}"]' if variable == DASHSCOPE_VARIABLE else f'os.environ.get("{variable}", "none")'
    return f"""import os

from openai import OpenAI

client = OpenAI(api_key={key}, base_url={address!r})
stream = client.chat.completions.create(
{openai_arguments(body)})
for chunk in stream:
    for choice in chunk.choices:
        delta = choice.delta.model_dump()
        print(delta.get("reasoning_content") or delta.get("reasoning") or delta["content"] or "", end="", flush=True)
"""


def _dashscope_sdk(body: dict[str, Any], address: str) -> str:
    arguments = "".join(f"    {name}={python_value(value)},\n" for name, value in body["parameters"].items())
    return f"""import os

from dashscope import Generation

items = Generation.call(
    api_key=os.environ["{DASHSCOPE_VARIABLE}"],
    base_address={address!r},
    model={body["model"]!r},
    messages={python_value(body["input"]["messages"])},
    stream=True,
{arguments})
for item in items:
    if item.status_code != 200:
        raise SystemExit(f"{{item.code}}: {{item.message}}")
    message = item.output.choices[0].message
    print(message.get("reasoning_content") or message.content, end="", flush=True)
"""


def _javascript(body: Any, url: str, variable: str) -> str:
    return f"""const response = await fetch({json.dumps(url)}, {{
  method: "POST",
  headers: {{ Authorization: `Bearer ${{process.env.{variable}}}`, "Content-Type": "application/json" }},
  body: JSON.stringify({javascript_value(body)}),
}});
{javascript_reader('choice.delta.reasoning_content || choice.delta.reasoning || choice.delta.content || ""')}"""


def javascript_reader(piece: str) -> str:
    """Reads `response` as a stream and writes `piece` of every `choice`."""
    return f"""if (!response.ok) throw new Error(await response.text());
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


def _transformers(request: ChatRequest) -> str:
    messages = [message_json(m) for m in request.messages]
    values = request.parameters
    names = {"max_tokens": "max_new_tokens", "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p"}
    names["repetition_penalty"] = "repetition_penalty"
    told = {there: value for here, there in names.items() if (value := getattr(values, here)) is not None}
    sample = told.get("temperature") != 0
    if not sample:
        told = {name: value for name, value in told.items() if name in ("max_new_tokens", "repetition_penalty")}
    arguments = "".join(f", {name}={value!r}" for name, value in {"do_sample": sample, **told}.items())
    model = "HuggingFaceTB/SmolLM2-135M-Instruct" if request.model == "demo" else request.model
    seed = f"set_seed({values.seed})\n" if values.seed is not None else ""
    switch = "" if values.enable_thinking is None else f", enable_thinking={values.enable_thinking}"
    offered = ""
    if request.tools is not None and request.tools.choice != "none":
        offered = f"tools = {python_value([tool_json(tool) for tool in request.tools.offered], 0)}\n"
        switch += ", tools=tools"
    return f"""from transformers import AutoModelForCausalLM, AutoTokenizer, TextStreamer, set_seed

name = {model!r}
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name, dtype="auto", device_map="auto")
messages = {python_value(messages, 0)}
{offered}inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"{switch})
inputs = inputs.to(model.device)
{seed}model.generate(**inputs, streamer=TextStreamer(tokenizer, skip_prompt=True){arguments})
"""
