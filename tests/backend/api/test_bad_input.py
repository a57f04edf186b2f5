"""Bodies that are wrong, callers that may not call, paths that are none: each an error in OpenAI's shape that says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from backend.api.access import check_access
from backend.api.app import MOST_BYTES
from backend.api.errors import ApiError, from_backend
from backend.errors import BackendError, BadInput, QuotaExhausted, RateLimited
from backend.read_files import FilesRefused
from tests.running_api import running_api

MODEL = "dashscope:qwen3-next-80b-a3b-instruct"
USER = {"role": "user", "content": "Hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}


NESTED = json.loads('{"items": ' * 200 + "{}" + "}" * 200)


def tool(name="f", **parameters):
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def said(response: httpx2.Response, status: int) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json" and response.headers["x-request-id"]
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"} and error["message"] and error["type"]
    return error


RAW = [
    (b"", "no JSON"),
    (b"{", "no JSON"),
    (b"[]", "no JSON object"),
    (b'"text"', "no JSON object"),
    (b'{"model": "\xff\xfe"}', "no JSON"),
    (b'{"temperature": NaN}', "NaN is no JSON number"),
    (b'{"temperature": -Infinity}', "-Infinity is no JSON number"),
    (b'{"temperature": 1e400}', "1e400 is larger than any number here"),
    (b"[" * 100_000, "no JSON"),
]


@pytest.mark.parametrize(("body", "sentence"), RAW, ids=[r[0][:20].decode("latin-1") for r in RAW])
def test_what_is_no_json(http_client, body, sentence):
    error = said(http_client.post("/v1/chat/completions", content=body), 400)
    assert sentence in error["message"] and error["code"] == "invalid_json"


WRONG = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "Hello"}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0]"),
    ({"messages": [{"content": "x"}]}, "messages[0]"),
    ({"messages": [USER, {"role": "user"}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]}, "messages[0].content[0].type"),
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"model": 5}, "model"),
    ({"temperature": "0.7"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"seed": 1.5}, "seed"),
    ({"stream": "yes"}, "stream"),
    ({"stop": [1, 2]}, "stop[0]"),
    ({"n": 0}, "n"),
    ({"n": 9}, "n"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
    ({"tools": [tool("bad name")]}, "tools"),
    ({"tools": [tool(), tool()]}, "tools"),
    ({"tools": [tool(type="array")]}, "tools"),
    ({"tools": [tool(type="nothing")]}, "tools"),
    ({"tools": [tool(properties={"a": {"type": 5}})]}, "tools"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [tool()] * 129}, "tools"),
    ({"tools": [tool(properties={f"p{n}": {"type": "string"} for n in range(9000)})]}, "tools"),
    ({"tools": [tool(properties={"a": NESTED})]}, "tools"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": NESTED}}}, "response_format"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": "perhaps"}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 7}}}}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"frequency_penalty": 1.0}, "frequency_penalty"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"functions": [{"name": "f"}]}, "functions"),
]


@pytest.mark.parametrize(("changed", "param"), WRONG, ids=[json.dumps(w[0])[:60] for w in WRONG])
def test_a_wrong_field_is_named(http_client, changed, param):
    error = said(http_client.post("/v1/chat/completions", json={"model": MODEL, "messages": [USER], **changed}), 400)
    assert error["param"] == param and error["type"] == "invalid_request_error"


TURNS = [
    ([USER, {"role": "tool", "tool_call_id": "c1", "content": "x"}], "which nobody called"),
    ([USER, CALLED, {"role": "tool", "tool_call_id": "c2", "content": "x"}], "which nobody called"),
    (
        [USER, CALLED, {"role": "tool", "tool_call_id": "c1", "content": "x"}, {"role": "tool", "tool_call_id": "c1", "content": "x"}],
        "nobody called",
    ),
    ([USER, CALLED, USER], "before the result of 'c1'"),
    ([USER, CALLED], "result of 'c1' is missing"),
    ([{"role": "system", "content": " "}], "prompt is empty"),
    ([{"role": "user", "content": " "}], "prompt is empty"),
]


@pytest.mark.parametrize(("messages", "sentence"), TURNS, ids=[t[1] for t in TURNS])
def test_turns_that_do_not_fit_together(http_client, messages, sentence):
    assert sentence in said(http_client.post("/v1/chat/completions", json={"model": MODEL, "messages": messages}), 400)["message"]


def test_a_huge_body_is_refused_before_it_is_read_to_its_end(http_client):
    def pieces():
        yield b'{"model": "'
        for _ in range(MOST_BYTES // 65536 + 2):
            yield b"x" * 65536

    assert said(http_client.post("/v1/chat/completions", content=pieces()), 413)["code"] == "body_too_large"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/embeddings", 404),
    ],
)
def test_paths_and_methods(http_client, method, path, status):
    said(http_client.request(method, path, json={} if method == "POST" else None), status)


def test_an_unknown_model_is_looked_up_in_vain(http_client):
    assert said(http_client.get("/v1/models/nothing"), 404)["code"] == "model_not_found"


def test_health_and_figures(http_client):
    assert http_client.get("/healthz").json() == {"status": "ok"}
    http_client.post("/v1/chat/completions", json={"model": MODEL, "messages": [USER]})
    figures = http_client.get("/metrics").text
    assert 'playground_requests_total{end="finished",engine="dashscope"}' in figures and "playground_first_token_seconds_bucket" in figures


# ---- who may call
def scope(client):
    return {"type": "http", "client": client}


LOCAL = {"host": "localhost:7860"}
TOKEN = SecretStr("tök-en")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:7860", "[::1]:7860"])
@pytest.mark.parametrize("client", [("127.0.0.1", 1), ("::1", 1)])
def test_programs_on_this_machine_need_no_token(client, host):
    check_access(scope(client), {"host": host}, None, public=False)


@pytest.mark.parametrize(
    ("client", "headers", "public"),
    [
        (("10.0.0.9", 1), LOCAL, False),
        (("203.0.113.5", 1), LOCAL, False),
        (None, LOCAL, False),
        (("nonsense", 1), LOCAL, False),
        (("127.0.0.1", 1), LOCAL, True),
        (("127.0.0.1", 1), {"host": "evil.example"}, False),
        (("127.0.0.1", 1), {**LOCAL, "origin": "https://evil.example"}, False),
        (("127.0.0.1", 1), {**LOCAL, "origin": "null"}, False),
        (("127.0.0.1", 1), {"host": "[broken"}, False),
        (("127.0.0.1", 1), {**LOCAL, "origin": "http://["}, False),
        (("127.0.0.1", 1), {**LOCAL, "x-forwarded-host": "play.example"}, False),
        (("127.0.0.1", 1), {**LOCAL, "x-real-ip": "203.0.113.5"}, False),
        (("127.0.0.1", 1), {**LOCAL, "via": "1.1 proxy"}, False),
    ],
)
def test_everybody_else_does(client, headers, public):
    with pytest.raises(ApiError) as refused:
        check_access(scope(client), headers, None, public=public)
    assert refused.value.status == 403 and "PLAYGROUND_API_TOKEN" in refused.value.message


def test_what_comes_over_http_1_0_is_a_proxys():
    with pytest.raises(ApiError):
        check_access({**scope(("127.0.0.1", 1)), "http_version": "1.0"}, LOCAL, None, public=False)


@pytest.mark.parametrize("name", ["seed", "max_tokens", "top_k"])
def test_numbers_without_end_are_out_of_range(http_client, name):
    body = {"model": MODEL, "messages": [USER], name: 10**400}
    assert "…; Qwen3-Next" in said(http_client.post("/v1/chat/completions", json=body), 400)["message"]


def test_the_token_opens_from_anywhere_and_nothing_else_does():
    check_access(scope(("203.0.113.5", 1)), {"authorization": "Bearer tök-en", "origin": "https://x.example"}, TOKEN, public=True)
    for given in ("", "Bearer", "Bearer wrong", "Basic tök-en", "tök-en"):
        with pytest.raises(ApiError) as refused:
            check_access(scope(("127.0.0.1", 1)), {**LOCAL, "authorization": given} if given else LOCAL, TOKEN, public=False)
        assert refused.value.status == 401 and refused.value.headers["www-authenticate"] == "Bearer"


def test_a_token_is_asked_for_by_every_path_but_health(tmp_path):
    with running_api(api_token="secret", data_dir=tmp_path) as (url, _), httpx2.Client(base_url=url, trust_env=False) as client:
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("GET", "/metrics"), ("GET", "/v1/nothing")):
            said(client.request(method, path), 401)
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/models", headers={"authorization": "Bearer secret"}).status_code == 200


# ---- the tree of errors
def subclasses(kind):
    return {kind, *(found for child in kind.__subclasses__() for found in subclasses(child))}


@pytest.mark.parametrize("kind", sorted(subclasses(BackendError), key=lambda k: k.__name__))
def test_every_error_of_the_tree_has_a_status_and_says_whether_to_try_again(kind):
    failed = (
        FilesRefused({Path("a"): BadInput("It failed.", hint="Do that.")}, [])
        if kind is FilesRefused
        else kind("It failed.", hint="Do that.")
    )
    told = from_backend(failed)
    assert 400 <= told.status < 600 and json.loads(told.body())["error"]["message"] == "It failed. Do that." and told.code
    assert told.headers["x-should-retry"] == ("true" if kind.retryable else "false")


def test_the_time_to_wait_is_passed_on():
    assert from_backend(RateLimited("Slow down.", retry_after_s=7.4)).headers["retry-after"] == "7"
    assert from_backend(QuotaExhausted("Spent.")).status == 429
