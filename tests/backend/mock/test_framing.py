"""Bytes on the wire, exactly as the fact sheet prints them; ids and times aside."""

from __future__ import annotations

import json
import re

import pytest

from backend.mock.wire import Counts
from tests.emulator import http

THINKING, INSTRUCT = "qwen3-next-80b-a3b-thinking", "qwen3-next-80b-a3b-instruct"
CHECKPOINT = "Qwen/Qwen3-Next-80B-A3B-Thinking"
NATIVE, COMPATIBLE, SERVER = (
    "/api/v1/services/aigc/text-generation/generation",
    "/compatible-mode/v1/chat/completions",
    "/v1/chat/completions",
)
KEY = {"authorization": "Bearer k"}
SSE = {**KEY, "x-dashscope-sse": "enable"}
SHORT = "[[think:1]] [[words:2]] [[chunk:1]]"


def native(url, prompt=SHORT, model=THINKING, headers=SSE, **parameters):
    body = {"model": model, "input": {"messages": [{"role": "user", "content": prompt}]}, "parameters": parameters}
    return http.post(url + NATIVE, headers=headers, json=body)


def flat(url, prompt=SHORT, model=THINKING, path=COMPATIBLE, stream=True, **parameters):
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream, **parameters}
    return http.post(url + path, headers=KEY, json=body)


def plain(text: str) -> str:
    """The body with its request id and time replaced."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID", text)
    return re.sub(r'"created":\d+', '"created":0', text)


def frame(number: int, thinking: str, answer: str, reason: str, total: int, made: int) -> str:
    return (
        f"id:{number}\nevent:result\n:HTTP_STATUS/200\n"
        f'data:{{"output":{{"choices":[{{"message":{{"content":"{answer}","reasoning_content":"{thinking}","role":"assistant"}},'
        f'"finish_reason":"{reason}"}}]}},"usage":{{"total_tokens":{total},"input_tokens":7,"output_tokens":{made},'
        f'"output_tokens_details":{{"reasoning_tokens":1}}}},"request_id":"ID"}}\n\n'
    )


def test_native_stream(url):
    answer = native(url)
    assert answer.headers["content-type"] == "text/event-stream;charset=UTF-8"
    assert answer.headers["x-dashscope-call-gateway"] == "true" and answer.headers["x-request-id"] in answer.text
    assert not [name for name in answer.headers if "ratelimit" in name or name == "retry-after"]
    assert plain(answer.text) == (
        frame(1, "This", "", "null", 8, 1)
        + frame(2, "", "This", "null", 9, 2)
        + frame(3, "", " sentence", "null", 10, 3)
        + frame(4, "", "", "stop", 10, 3)
    )


def test_native_text_format_is_the_default_of_next_instruct(url):
    assert plain(native(url, model=INSTRUCT).text).startswith(
        'id:1\nevent:result\n:HTTP_STATUS/200\ndata:{"output":{"finish_reason":"null","text":"This"},'
        '"usage":{"total_tokens":8,"input_tokens":7,"output_tokens":1},"request_id":"ID"}\n\n'
    )


def test_native_cumulative_frames_repeat_the_text(url):
    frames = re.findall(r'"text":"(.*?)"', native(url, model="qwen-plus").text)
    assert frames == ["This", "This sentence", "This sentence"]


def test_native_prompt_form_and_accept_header(url):
    headers = {**KEY, "accept": "text/event-stream"}
    body = {"model": THINKING, "input": {"prompt": SHORT}, "parameters": {}}
    assert plain(http.post(url + NATIVE, headers=headers, json=body).text).startswith(frame(1, "This", "", "null", 8, 1))


def test_native_whole_answer(url):
    assert plain(native(url, model=INSTRUCT, headers=KEY, result_format="message").text) == (
        '{"output":{"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"This sentence"}}]},'
        '"usage":{"input_tokens":7,"output_tokens":2,"total_tokens":9},"request_id":"ID"}'
    )
    assert native(url, model=INSTRUCT, headers=KEY).json()["output"] == {"text": "This sentence", "finish_reason": "stop"}


NOT_FOUND = '{"code":"ModelNotFound","message":"Model can not be found.","request_id":"ID"}'


@pytest.mark.parametrize(("headers", "expected"), [(SSE, f"id:1\nevent:error\n:HTTP_STATUS/404\ndata:{NOT_FOUND}\n\n"), (KEY, NOT_FOUND)])
def test_native_refusal_has_its_real_status_and_an_sse_body_where_a_stream_was_asked(url, headers, expected):
    answer = native(url, model="nope", headers=headers)
    assert (answer.status_code, plain(answer.text)) == (404, expected)


def test_native_mid_stream_error_carries_its_status_in_the_comment(url):
    answer = native(url, f"[[fault:error@1]] {SHORT}")
    assert answer.status_code == 200
    data = '{"code":"Throttling","message":"Requests throttling triggered.","request_id":"ID"}'
    assert plain(answer.text).endswith(f"id:2\nevent:error\n:HTTP_STATUS/429\ndata:{data}\n\n")


def chunk(delta: str, reason: str = "null", usage: str = "null", model: str = THINKING) -> str:
    choices = f'[{{"delta":{delta},"index":0,"logprobs":null,"finish_reason":{reason}}}]' if delta else "[]"
    return (
        f'data: {{"choices":{choices},"object":"chat.completion.chunk","usage":{usage},"created":0,'
        f'"system_fingerprint":null,"model":"{model}","id":"chatcmpl-ID"}}\n\n'
    )


def test_compatible_stream(url):
    answer = flat(url, stream_options={"include_usage": True})
    usage = (
        '{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"completion_tokens_details":{"reasoning_tokens":1},'
        '"prompt_tokens_details":{"cached_tokens":0}}'
    )
    assert plain(answer.text) == (
        chunk('{"content":"","role":"assistant"}')
        + chunk('{"content":null,"reasoning_content":"This"}')
        + chunk('{"content":"This","reasoning_content":null}')
        + chunk('{"content":" sentence","reasoning_content":null}')
        + chunk('{"content":"","reasoning_content":null}', '"stop"')
        + chunk("", usage=usage)
        + "data: [DONE]\n\n"
    )


def test_compatible_envelope_of_an_error(url):
    answer = flat(url, model="nope")
    assert answer.headers["content-type"] == "application/json"
    assert plain(answer.text) == (
        '{"error":{"message":"The model `nope` does not exist or you do not have access to it.","type":"invalid_request_error",'
        '"param":null,"code":"model_not_found"},"request_id":"ID"}'
    )


def test_compatible_leak_frame_has_no_error_key(url):
    assert plain(flat(url, f"[[fault:leak@1]] {SHORT}").text).endswith(
        'id:1\nevent:error\n:HTTP_STATUS/400\ndata:{"request_id":"ID","code":"Arrearage","type":"Arrearage",'
        '"message":"Access denied, please make sure your account is in good standing."}\n\n'
    )


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}}}]
PIECES = [
    {"index": 0, "type": "function", "function": {"name": "weather", "arguments": ""}},
    {"index": 0, "id": "", "type": "function", "function": {"arguments": '{"city":'}},
    {"index": 0, "id": "", "type": "function", "function": {"arguments": ' "Paris"}'}},
    {"index": 0, "id": "", "type": "function", "function": {}},
]


def test_tool_call_comes_in_pieces_with_empty_ids_after_the_first(url):
    answer = flat(url, "[[tool]]", model=INSTRUCT, tools=TOOLS)
    choices = [json.loads(line[6:])["choices"][0] for line in answer.text.splitlines() if line.startswith("data: {")]
    pieces = [piece for c in choices for piece in c["delta"].get("tool_calls", [])]
    assert pieces[0].pop("id").startswith("call_") and pieces == PIECES
    assert choices[-1]["finish_reason"] == "tool_calls"


def test_native_tool_call_has_the_same_pieces(url):
    answer = native(url, "[[tool]]", model=INSTRUCT, tools=TOOLS, result_format="message")
    choices = [json.loads(line[5:])["output"]["choices"][0] for line in answer.text.splitlines() if line.startswith("data:")]
    pieces = [piece for c in choices for piece in c["message"].get("tool_calls", [])]
    assert pieces[0].pop("id").startswith("call_") and pieces == PIECES


@pytest.mark.parametrize(
    ("style", "deltas"),
    [
        ("reasoning_content", ['{"reasoning_content":"This"}', '{"content":"This"}', '{"content":" sentence"}']),
        ("reasoning", ['{"reasoning":"This"}', '{"content":"This"}', '{"content":" sentence"}']),
        ("inline", ['{"content":"This"}', '{"content":"\\n</think>\\n\\nThis"}', '{"content":" sentence"}']),
    ],
)
def test_server_sends_the_trace_in_the_style_asked_for(url, style, deltas):
    text = flat(url, f"[[style:{style}]] {SHORT}", model=CHECKPOINT, path=SERVER, stream_options={"include_usage": True}).text
    assert re.findall(r'"delta":(\{.*?\}),"logprobs"', text) == ['{"role":"assistant","content":""}', *deltas, '{"content":""}']
    assert text.endswith("data: [DONE]\n\n") and '"completion_tokens":3,' in text and "<think>" not in text


def test_server_lists_models_with_their_context(url):
    listed = {m["id"]: m["max_model_len"] for m in http.get(f"{url}/v1/models").json()["data"]}
    assert listed[CHECKPOINT] == 262144


def test_counts_add_up():
    assert Counts(input=3, thinking=4, answer=5).output == 9
