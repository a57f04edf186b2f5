"""The API's own description: valid, true to what is sent, and shown under this host's address."""

from __future__ import annotations

import ast
import html
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from backend.api import notes, replies
from backend.api.app import PATHS
from backend.api.described import address_of
from backend.api.errors import CODES
from backend.api.examples import Example, recording, shown
from backend.api.openapi import document
from backend.api.record_examples import CALLS, INSTRUCT, TINY, api_of_examples, record
from backend.api.snippets import snippets
from backend.catalogue import catalogue
from tests.running_api import running_api

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = document("http://127.0.0.1:7860")
SUM = [{"role": "user", "content": "What is 12 + 30?"}]
STRICT = {  # by path: the whole answer, one chunk
    "/v1/chat/completions": (replies.ChatCompletion, replies.ChatChunk),
    "/v1/completions": (replies.Completion, replies.CompletionChunk),
    "/v1/models": (replies.ModelList, None),
    "/healthz": (replies.Health, None),
}


@pytest.fixture(scope="module")
def examples_api() -> Iterator[str]:
    with api_of_examples() as url:
        yield url


@pytest.fixture(scope="module")
def again(examples_api) -> dict[str, Example]:
    """The recorded calls, made again."""
    return {example.name: example for example in record(examples_api).examples}


@pytest.fixture
def client(examples_api) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=examples_api, timeout=30, trust_env=False) as made:
        yield made


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, item[method]) for path, item in DOCUMENT["paths"].items() for method in ("get", "post") if method in item]


def wrong_with(value: object, schema: dict[str, Any]) -> list[str]:
    whole = {"components": DOCUMENT["components"], "allOf": [schema]}
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in Draft202012Validator(whole).iter_errors(value)]


def documented(method: str, path: str, status: int, media: str) -> dict[str, Any]:
    """The schema of an answer."""
    item = DOCUMENT["paths"].get(path) or DOCUMENT["paths"]["/v1/models/{name}"]
    answer = item[method.lower()]["responses"][str(status)]
    if "$ref" in answer:
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return answer["content"][media]["schema"]


# ---- the document
def test_it_is_valid_openapi_and_plain():
    validate(document())
    validate(DOCUMENT)
    ids = [operation["operationId"] for _, _, operation in operations()]
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    assert len(set(ids)) == len(ids) and all(set(o["tags"]) <= tags and o["summary"] and o["description"] for _, _, o in operations())
    assert set(re.findall(r'"(\$?\w+)":', json.dumps(DOCUMENT["components"]))).isdisjoint({"const", "$defs", "prefixItems", "$dynamicRef"})
    assert set(re.findall(r'"\$ref": "(.*?)"', json.dumps(DOCUMENT))) <= {
        f"#/components/{part}/{name}" for part, found in DOCUMENT["components"].items() for name in found
    }


def test_bodies_are_those_that_are_checked():
    """Every field of the models is there, and unions tell their kinds apart by name."""
    schemas = DOCUMENT["components"]["schemas"]
    assert {"messages", "tools", "response_format", "draft_tokens", "n"} <= schemas["ChatBody"]["properties"].keys()
    assert schemas["ChatBody"]["properties"]["messages"]["items"]["discriminator"]["mapping"]["tool"] == "#/components/schemas/ToolMessage"
    assert schemas["ChatBody"]["properties"]["temperature"]["anyOf"] == [{"type": "number"}, {"type": "null"}]
    assert schemas["Model"]["properties"]["title"] == {"type": "string"} and "default" in schemas["Range"]["properties"]


def test_the_table_of_errors_is_whole():
    """Codes that the source raises are in it, and each stands in the document with its status."""
    raised = set()
    for path in (ROOT / "backend" / "api").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ApiError" and isinstance(node.args[0], ast.Constant):
                raised.add(node.args[0].value)
    assert raised and raised <= CODES.keys()
    for kind in CODES.values():
        assert f"`{kind.code}`: {kind.meaning}" in DOCUMENT["components"]["responses"][f"Error{kind.status}"]["description"]
        assert f"| {kind.status} | `{kind.type}` | `{kind.code}` |" in DOCUMENT["info"]["description"]


def test_notes_are_the_catalogues():
    text = DOCUMENT["info"]["description"]
    for card in catalogue().models:
        assert card.id in text and all(f"{limit:,}" in text for limit in (card.context_tokens, card.max_output_tokens) if limit)
        for price in card.prices:
            assert re.search(rf"\| `dashscope:{card.id}` \| {price.region} \| {price.input:g} .*\| {price.as_of} \|", text)


def test_the_routing_is_that_of_the_real_configuration():
    from transformers import Qwen3NextConfig

    real = Qwen3NextConfig()
    assert (real.num_hidden_layers, real.num_experts, real.num_experts_per_tok) == (notes.LAYERS, notes.EXPERTS, notes.ROUTED)
    assert real.shared_expert_intermediate_size == real.moe_intermediate_size * notes.SHARED
    assert "10 of 512 experts" in notes.model_notes() and "2 of 16 experts" in notes.model_notes()


# ---- examples
@pytest.mark.parametrize("example", recording().examples, ids=lambda e: e.name)
def test_a_recorded_example_fits_its_schemas(example):
    check_reply(example)
    if example.body is not None:
        body = DOCUMENT["paths"][example.path]["post"]["requestBody"]["content"]["application/json"]
        assert wrong_with(example.body, body["schema"]) == [] and body["examples"][example.name]["value"] == example.body


def check_reply(example: Example) -> None:
    """Against the document, and strictly against the models, which allow no field that they do not name."""
    reply = example.reply
    schema = documented(example.method, example.path, reply.status, reply.media_type)
    whole, chunk = STRICT.get(example.path, (replies.Model, None))
    for value in reply.chunks() if reply.lines is not None else [reply.body]:
        assert wrong_with(value, schema) == []
        model = replies.Error if "error" in value else chunk if reply.lines is not None else whole
        model.model_validate(value)
    assert reply.headers["x-request-id"].startswith("req_")


def shape(value: Any) -> Any:
    """Keys and types; of a list, those that occur in it."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(item), sort_keys=True) for item in value})
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def test_examples_are_those_of_the_script():
    assert [call.name for call in CALLS] == [example.name for example in recording().examples]


@pytest.mark.parametrize("call", CALLS, ids=lambda c: c.name)
def test_the_same_call_answers_alike_today(call, again):
    then, now = next(e for e in recording().examples if e.name == call.name), again[call.name]
    assert call.model_dump() == then.model_dump(include=set(type(call).model_fields)), "run python -m backend.api.record_examples"
    assert now.reply.status == then.reply.status and now.reply.headers.keys() == then.reply.headers.keys()
    assert shape(now.reply.body) == shape(then.reply.body) and shape(now.reply.chunks()) == shape(then.reply.chunks())
    assert (now.reply.lines or [""])[-3:] == (then.reply.lines or [""])[-3:]
    check_reply(now)


def test_a_long_stream_is_shown_with_its_middle_left_out_as_a_comment():
    lines = next(e for e in recording().examples if e.name == "stream").reply.lines
    text = shown(lines)
    assert text.count("data: ") == 8 and re.search(r"^: \d+ chunks of the same kind are left out here$", text, re.M)
    assert text.endswith("data: [DONE]\n\n") and shown(lines[:4]) == "\n".join(lines[:4]).rstrip() + "\n\n"


ERRORS = [
    ("[[fault:cut]] [[words:50]]", 200, "stream_broken"),
    ("[[fault:429]]", 429, "rate_limit_exceeded"),
    ("[[fault:html]]", 503, "unavailable"),
    (" ", 400, "invalid_value"),
]


@pytest.mark.parametrize(("text", "status", "code"), ERRORS)
def test_errors_are_as_described(client, text, status, code, monkeypatch):
    monkeypatch.setattr("backend.pipeline.FIRST_WAIT_S", 0.001)
    body = {"model": INSTRUCT, "messages": [{"role": "user", "content": text}], "stream": True}
    response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == status
    lines = response.text.split("\n") if status == 200 else [f"data: {response.text}"]
    found = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    schema = documented("POST", "/v1/chat/completions", status, response.headers["content-type"].partition(";")[0])
    assert all(wrong_with(chunk, schema) == [] for chunk in found) and found[-1]["error"]["code"] == code


# ---- code to carry away
@pytest.mark.parametrize("example", [e for e in recording().examples if e.reply.status == 200], ids=lambda e: e.name)
def test_snippets_say_what_was_recorded(example, examples_api, capsys, monkeypatch):
    monkeypatch.delenv("PLAYGROUND_API_TOKEN", raising=False)
    made = {snippet.title: snippet.text for snippet in snippets(example, examples_api)}
    words = shlex.split(made["curl"])
    assert f"{examples_api}{example.path}" in words and "Authorization: Bearer $PLAYGROUND_API_TOKEN" in words
    assert example.body is None or json.loads(words[words.index("--data-raw") + 1]) == example.body
    assert example.body is None or json.loads(re.search(r"stringify\((\{.*?\n  \})\)", made["JavaScript"], re.S)[1]) == example.body
    if "Python, LangChain" in made:
        compile(made["Python, LangChain"], "langchain", "exec")
    if "Python, openai" in made:
        exec(made["Python, openai"], {})
        assert capsys.readouterr().out.strip()


# ---- what schemathesis and the writing of this found
def test_a_field_name_cannot_write_headers(client):
    response = client.post("/v1/chat/completions", json={"model": INSTRUCT, "messages": SUM, "a\r\nset-cookie: evil": 1, "é": 2})
    assert response.status_code == 200 and response.headers["x-ignored-parameters"] == "a%0D%0Aset-cookie:%20evil, %C3%A9"
    assert "set-cookie" not in response.headers


def test_half_an_emoji_is_replaced_before_an_engine_sees_it(client):
    body = json.dumps({"model": INSTRUCT, "messages": [{"role": "user", "content": "a \ud83d b \ud83d\ude00"}]})
    answer = client.post("/v1/chat/completions", content=body.encode())
    assert "a \ufffd b 😀" in answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("name", ["dashscope:", "dashscope:%0A", "local:", "%00"])
def test_an_engine_without_a_model_is_no_model(client, name):
    assert client.get(f"/v1/models/{name}").status_code == 404


def test_a_streamed_continuation_tells_its_log_probabilities(client):
    asked = {"model": TINY, "prompt": "12 + 30\nOnes: 2+0=", "max_tokens": 6, "temperature": 0.0, "logprobs": 2}
    whole = client.post("/v1/completions", json=asked).json()["choices"][0]
    lines = client.post("/v1/completions", json={**asked, "stream": True}).text.split("\n")
    chunks = [json.loads(line[6:])["choices"][0] for line in lines if line.startswith("data: {")]
    assert whole["logprobs"]["tokens"] == [token for c in chunks if c["logprobs"] for token in c["logprobs"]["tokens"]]


def test_guessing_ahead_can_be_asked_for(client):
    response = client.post("/v1/chat/completions", json={"model": TINY, "messages": SUM, "temperature": 0.0, "draft_tokens": 2})
    assert response.status_code == 200 and "42" in response.json()["choices"][0]["message"]["content"]
    assert "x-ignored-parameters" not in response.headers


# ---- under this host's address
def test_the_document_is_served_with_this_hosts_address(client, examples_api):
    response = client.get("/openapi.json")
    assert response.json() == document(examples_api) and response.headers["content-type"] == "application/json"
    found = client.get(
        "/openapi.json", headers={"host": "gpu.example:7860", "x-forwarded-proto": "https", "x-forwarded-host": "evil.example"}
    )
    assert found.json()["servers"] == [{"url": "https://gpu.example:7860"}]  # uvicorn trusts a proxy on this machine, and no name from it


@pytest.mark.parametrize(
    "host", ['x"><script>alert(1)</script>', "a'; rm -rf ~; '", "a/../b?c#d", "user@host", "", "a b", "[::1", "x:999999"]
)
def test_a_strange_host_is_not_repeated(host):
    scope = {"scheme": "http", "server": ("::1", 7860)}
    assert address_of(scope, {"host": host}) == "http://[::1]:7860"


def test_addresses_that_are_kept():
    assert address_of({"scheme": "https", "playground.prefix": "/chat/"}, {"host": "a_b.example"}) == "https://a_b.example/chat"
    assert address_of({"scheme": "http"}, {"host": "[::1]:80"}) == "http://[::1]:80" and address_of({}, {}) == "http://localhost"


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.inline: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.inline += [name for name in found if name == "style" or name.startswith("on")]
        self.loaded += [tag] if tag in ("link", "img", "iframe", "object", "base") or "src" in found else []


def test_the_page_is_whole_and_loads_nothing(client, examples_api):
    response = client.get("/docs")
    policy, text = response.headers["content-security-policy"], response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8" and policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy and response.headers["x-content-type-options"] == "nosniff"
    page = Page(text)
    assert not page.inline and not page.loaded and len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert {link for link in page.links if not link.startswith("#")} == {f"{examples_api}/openapi.json"}
    assert "address.invalid" not in text and text.count(f"{examples_api}/v1") > 20
    assert all(html.escape(example.title) in text.replace("&#39;", "&#x27;") for example in recording().examples)
    assert all(path in text for path, _, _ in operations()) and "512 experts" in text and "Answered by the emulator" in text


def test_both_are_open_where_a_token_is_set_and_do_not_hold_it(tmp_path):
    with running_api(api_token="very-secret", data_dir=tmp_path) as (url, _), httpx2.Client(base_url=url, trust_env=False) as client:
        for path in ("/openapi.json", "/docs"):
            response = client.get(path)
            assert response.status_code == 200 and "very-secret" not in response.text and path in PATHS


def test_the_command_prints_the_document_and_nothing_else():
    heavy = "[m for m in ('torch', 'gradio', 'transformers', 'openai') if m in sys.modules]"
    code = f"import sys, app; app.main(['openapi', '--address', 'http://h:1/']); print({heavy}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60)
    assert json.loads(done.stdout) == document("http://h:1") and done.stderr.decode().strip() == "[]"
