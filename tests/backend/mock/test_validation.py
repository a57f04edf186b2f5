"""What DashScope refuses, with its own texts, on both surfaces; and what the vLLM-like server refuses."""

from __future__ import annotations

import pytest

from backend.catalogue import catalogue
from backend.mock import compatible, native, validation
from tests.backend.mock.test_framing import CHECKPOINT, COMPATIBLE, INSTRUCT, KEY, NATIVE, SERVER, SSE, THINKING
from tests.emulator import http

HI = [{"role": "user", "content": "hi"}]
JSON = {"response_format": {"type": "json_object"}}
BUDGET = "The thinking_budget parameter must be a positive integer and not greater than 81920"
STREAM_ONLY = "This model only support stream mode, please enable the stream parameter to access the model."


def found(surface: str, model: str, parameters: dict, *, stream: bool = True, messages=HI, limit: int | None = None):
    if surface == "native":
        headers = {"x-dashscope-sse": "enable"} if stream else {}
        call = native.read({"model": model, "input": {"messages": messages}, "parameters": parameters}, headers)
    else:
        call = compatible.read({"model": model, "messages": messages, "stream": stream, **parameters}, {})
    card = catalogue().card("dashscope", model)
    assert card is not None
    return validation.check(call, card, limit)


@pytest.mark.parametrize("surface", ["native", "compatible"])
@pytest.mark.parametrize(
    ("model", "parameters", "message"),
    [
        (INSTRUCT, {"temperature": 2}, "Temperature should be in [0.0, 2.0)"),
        (INSTRUCT, {"temperature": "hot"}, "Temperature should be in [0.0, 2.0)"),
        (INSTRUCT, {"top_p": 0}, "Range of top_p should be (0.0, 1.0]"),
        (INSTRUCT, {"top_k": -1}, "Parameter top_k be greater than or equal to 0"),
        (INSTRUCT, {"repetition_penalty": 0}, "Repetition_penalty should be greater than 0.0"),
        (INSTRUCT, {"presence_penalty": -2.1}, "Presence_penalty should be in [-2.0, 2.0]"),
        (INSTRUCT, {"n": 5}, "Range of n should be [1, 4]"),
        (INSTRUCT, {"seed": 2**63}, "Range of seed should be [0, 9223372036854775807]"),
        (INSTRUCT, {"max_tokens": 32769}, "Range of max_tokens should be [1, 32768]"),
        (INSTRUCT, {"max_tokens": 0}, "Range of max_tokens should be [1, 32768]"),
        (INSTRUCT, {"enable_thinking": True}, f"The model {INSTRUCT} does not support enable_thinking."),
        (INSTRUCT, JSON, "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."),
        (INSTRUCT, {"tool_choice": "required"}, 'tool_choice is one of the strings that should be ["none", "auto"]'),
        (THINKING, {"enable_thinking": False}, "The value of the enable_thinking parameter is restricted to True."),
        (THINKING, {"thinking_budget": 0}, BUDGET),
        (THINKING, {"thinking_budget": 81921}, BUDGET),
        (THINKING, {"result_format": "text"}, 'The result_format parameter must be "message" when enable_thinking is true'),
        (THINKING, {"incremental_output": False}, "The incremental_output parameter of this model cannot be set to False."),
        ("qwen-plus", {"enable_thinking": True, "incremental_output": False},
         'The incremental_output parameter must be "true" when enable_thinking is true'),
        (THINKING, JSON, "Json mode response is not supported when enable_thinking is true"),
    ],
)  # fmt: skip
def test_refused_with_dashscope_s_own_words(surface, model, parameters, message):
    refusal = found(surface, model, parameters)
    assert refusal is not None and (refusal.status, refusal.message) == (400, message)
    assert refusal.native.startswith("InvalidParameter")


@pytest.mark.parametrize("surface", ["native", "compatible"])
@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (
            INSTRUCT,
            {"temperature": 0, "top_p": 1, "top_k": None, "presence_penalty": 2, "n": 4, "max_tokens": 32768, "min_p": 0.1},
        ),
        (THINKING, {"enable_thinking": True, "thinking_budget": 81920, "seed": 0, "top_k": 0}),
        ("qwen-plus", {"enable_thinking": True, "thinking_budget": 1}),
    ],
)
def test_taken(surface, model, parameters):
    assert found(surface, model, parameters) is None


@pytest.mark.parametrize(
    ("model", "parameters", "message"),
    [
        (THINKING, {}, STREAM_ONLY),
        ("qwen3-32b", {}, "parameter.enable_thinking must be set to false for non-streaming calls"),
        ("qwen-plus", {"enable_thinking": True}, "parameter.enable_thinking must be set to false for non-streaming calls"),
        ("qwen3-32b", {"enable_thinking": False}, None),
        ("qwen-plus", {}, None),
        (INSTRUCT, {}, None),
    ],
)
def test_thinking_wants_a_stream(model, parameters, message):
    refusal = found("compatible", model, parameters, stream=False)
    assert (refusal and refusal.message) == message


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, 'Either "prompt" or "messages" must exist and cannot both be none'),
        ([], "[] is too short"),
        ("hi", "Required body invalid, please check the request body format."),
        ([{"role": "robot", "content": "hi"}], "Required body invalid, please check the request body format."),
        ([{"role": "user", "content": 3}], "input content must be a string."),
    ],
)
def test_messages_that_are_none(messages, message):
    refusal = found("native", INSTRUCT, {}, messages=messages)
    assert refusal is not None and refusal.message == message


def test_a_prompt_longer_than_the_context_is_refused():
    refusal = found("compatible", INSTRUCT, {}, messages=[{"role": "user", "content": "word " * 200}], limit=100)
    assert refusal is not None and "Range of input length should be [1, 100]" in refusal.message
    assert (refusal.native, refusal.compatible) == ("InternalError.Algo.InvalidParameter", "invalid_parameter_error")


def test_negative_seed_has_its_own_code_in_compatible_mode():
    refusal = found("compatible", INSTRUCT, {"seed": -1})
    assert refusal is not None
    assert (refusal.compatible, refusal.message) == ("invalid_request_error", "-1 is lesser than the minimum of 0 - 'seed'")


def test_thinking_switch_on_instruct_has_its_own_code():
    refusal = found("compatible", INSTRUCT, {"enable_thinking": True})
    assert refusal is not None and refusal.compatible == refusal.native == "InvalidParameter.NotSupportEnableThinking"


@pytest.mark.parametrize(
    ("path", "headers", "content", "status", "code"),
    [
        (NATIVE, {}, b"{}", 401, "InvalidApiKey"),
        (NATIVE, SSE, b"not json", 400, "InvalidParameter"),
        (NATIVE, KEY, b'{"temperature": NaN}', 400, "InvalidParameter"),
        (COMPATIBLE, KEY, b"[1]", 400, "invalid_parameter_error"),
        (COMPATIBLE, KEY, b"{}", 400, "invalid_request_error"),
        (COMPATIBLE, {"authorization": "Basic k"}, b"{}", 401, "invalid_api_key"),
        (SERVER, {"authorization": "Bearer sk-wrong"}, b"{}", 401, 401),
        (SERVER, {}, b'{"model": "nope"}', 404, 404),
    ],
)
def test_key_body_and_model_are_checked_in_this_order(url, path, headers, content, status, code):
    answer = http.post(url + path, headers=headers, content=content)
    assert answer.status_code == status and str(code) in answer.text


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"messages": []}, "messages must not be empty"),
        ({"temperature": -1}, "temperature must be non-negative"),
        ({"top_p": 2}, r"top_p must be in (0, 1]"),
        ({"max_tokens": 262144}, "maximum context length is 262144 tokens"),
    ],
)
def test_the_server_refuses_in_its_own_way(url, parameters, words):
    answer = http.post(url + SERVER, json={"model": CHECKPOINT, "messages": HI, **parameters})
    assert answer.status_code == 400 and words in answer.json()["error"]["message"]
