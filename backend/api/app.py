"""The routes of the HTTP API, as one ASGI app that the page's server hands their paths to."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.api import described
from backend.api.access import check_access
from backend.api.answers import ChatFrames, CompletionFrames, chat_body, completion_body, new_answer_id
from backend.api.bodies import ChatBody, CompletionBody
from backend.api.errors import ApiError
from backend.api.requests import Asked, chat_request, completion_request
from backend.api.serving import Job, Streamed, Whole, told
from backend.checking import check
from backend.display import display_name
from backend.engines import Access, Engines
from backend.errors import BackendError, UnknownModel
from backend.json_shape import JsonShape
from backend.settings import Settings

log = logging.getLogger(__name__)

MOST_BYTES = 10 * 2**20  # of a body: a prompt of the longest context is far smaller
MAX_VALUES = 50_000  # of a body: a thousand messages and a hundred tools have 20,000
MAX_DEPTH = 512  # a tool's schema may be 100 deep
MOST_AT_ONCE = 256
PATHS = ("/v1", "/healthz", "/metrics", "/openapi.json", "/docs")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[[Request, str], Awaitable[Response]]


class HttpApi:
    """Holds what outlives a request. Nobody's chats are touched: callers have no history here."""

    def __init__(self, settings: Settings, engines: Engines) -> None:
        self._settings, self._engines = settings, engines
        self._active = 0
        self._started_at = int(time.time())

    # ---- answers
    async def chat(self, request: Request, request_id: str) -> Response:
        body = await _read(request, ChatBody)
        capabilities = await self._engines.capabilities(body.model, Access())
        asked = await asyncio.to_thread(chat_request, body, capabilities)  # schemas of a hundred tools take a while
        check(asked.request, capabilities, any_turn=True)
        job = await self._job(body.model, asked, request_id)
        answer_id = new_answer_id("chatcmpl")
        if asked.stream:
            return Streamed(job, ChatFrames(answer_id, body.model, include_usage=asked.include_usage, choices=asked.choices))
        return Whole(job, partial(chat_body, answer_id, body.model))

    async def completion(self, request: Request, request_id: str) -> Response:
        body = await _read(request, CompletionBody)
        capabilities = await self._engines.capabilities(body.model, Access())
        asked = completion_request(body, capabilities)
        check(asked.request, capabilities, any_turn=True)
        job = await self._job(body.model, asked, request_id)
        answer_id = new_answer_id("cmpl")
        if asked.stream:
            return Streamed(job, CompletionFrames(answer_id, body.model, include_usage=asked.include_usage))
        return Whole(job, partial(completion_body, answer_id, body.model))

    async def _job(self, model: str, asked: Asked, request_id: str) -> Job:
        provider = await self._engines.pipeline(model, Access())
        if self._active + asked.choices > MOST_AT_ONCE:
            message = f"{MOST_AT_ONCE} answers are being written at once, which is as many as this host takes."
            raise ApiError("rate_limit_exceeded", message, headers={"retry-after": "1"})
        self._active += asked.choices
        headers = {"x-request-id": request_id}
        if asked.ignored:
            headers["x-ignored-parameters"] = _as_header(asked.ignored)
        return Job(provider, asked.request, asked.choices, partial(self._release, asked.choices), self._engines.ending, headers)

    def _release(self, choices: int) -> None:
        self._active -= choices

    # ---- what there is
    async def models(self, request: Request, request_id: str) -> Response:
        listed = [await self._model(choice.name) for choice in await self._engines.choices(Access()) if choice.ready]
        return _json({"object": "list", "data": listed}, request_id)

    async def model(self, request: Request, request_id: str) -> Response:
        name = request.path_params["name"]
        if not name.partition(":")[2].strip():  # the catalogue, which is asked without a key too, has an honest card for any other
            raise UnknownModel(f"{display_name(name)!r} is not a model's name.", hint="Names look like dashscope:qwen-plus or local:demo.")
        return _json(await self._model(name), request_id)

    async def _model(self, name: str) -> dict[str, Any]:
        """OpenAI's four fields, and what its callers have to look up elsewhere."""
        found = await self._engines.capabilities(name, Access())
        return {
            "id": name,
            "object": "model",
            "created": self._started_at,
            "owned_by": name.partition(":")[0],
            "title": found.title,
            "context_tokens": found.context_tokens,
            "max_output_tokens": found.max_output_tokens,
            "thinking": found.thinking,
            "tools": found.takes_tools,
            "response_formats": list(found.formats),
            "parameters": {n: {"min": s.min, "max": s.max, "default": s.default} for n, s in found.parameters.items()},
        }

    async def embeddings(self, request: Request, request_id: str) -> Response:
        raise ApiError("not_found", "There are no embeddings here: the models of this app write text.")

    async def metrics(self, request: Request, request_id: str) -> Response:
        headers = {"x-request-id": request_id}
        return Response(self._engines.audit.prometheus(), headers=headers, media_type="text/plain; version=0.0.4")

    async def health(self, request: Request, request_id: str) -> Response:
        return _json({"status": "ok"}, request_id)

    # ---- the frame around all of them
    def asgi(self) -> ASGIApp:
        """The app. Whatever goes wrong in it is answered in OpenAI's shape."""

        def guarded(path: str, handler: Handler, method: str = "GET") -> Route:
            return Route(path, partial(self._guarded, handler), methods=[method])

        def open_to_all(path: str, handler: Handler) -> Route:
            return Route(path, partial(self._guarded, handler, closed=False))

        async def unknown(scope: Scope, receive: Receive, send: Send) -> None:
            answer = await self._guarded(_unknown_path, Request(scope, receive))
            await answer(scope, receive, send)

        routes = [
            guarded("/v1/chat/completions", self.chat, "POST"),
            guarded("/v1/completions", self.completion, "POST"),
            guarded("/v1/embeddings", self.embeddings, "POST"),
            guarded("/v1/models", self.models),
            guarded("/v1/models/{name:path}", self.model),
            guarded("/metrics", self.metrics),
            open_to_all("/healthz", self.health),
            open_to_all("/openapi.json", described.openapi),
            open_to_all("/docs", described.docs),
        ]
        app = Starlette(routes=routes, exception_handlers={405: self._wrong_method})
        app.router.default = unknown
        app.router.redirect_slashes = False  # it would send callers behind a proxy's prefix out of it
        return app

    async def _guarded(self, handler: Handler, request: Request, *, closed: bool = True) -> Response:
        request_id = _new_request_id()
        try:
            if closed:
                check_access(request.scope, request.headers, self._settings.api_token, public=self._settings.public)
            return await handler(request, request_id)
        except (ApiError, BackendError) as error:
            return _refused(told(error), request_id)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            return _refused(told(error), request_id)

    async def _wrong_method(self, request: Request, error: Exception) -> Response:
        message = f"{request.url.path} does not take {request.method}."
        return _refused(ApiError("method_not_allowed", message, headers=getattr(error, "headers", None) or {}), _new_request_id())


async def _unknown_path(request: Request, request_id: str) -> Response:
    raise ApiError("not_found", f"There is no {request.url.path} here.")


def _as_header(names: Iterable[str]) -> str:
    """The names are the caller's own: what a header cannot hold, as line breaks, is written as %XX; an empty one as a pair of quotes."""
    return ", ".join(quote(name, safe="[]()@:/", errors="replace") or '""' for name in names)[:1000].rstrip(", ")


def _new_request_id() -> str:
    return f"req_{secrets.token_hex(12)}"


def _json(data: object, request_id: str) -> Response:
    body = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, media_type="application/json", headers={"x-request-id": request_id})


def _refused(error: ApiError, request_id: str) -> Response:
    return Response(error.body(), error.status, {"x-request-id": request_id, **error.headers}, media_type="application/json")


async def _read(request: Request, kind: type[Body]) -> Body:
    """The body as `kind`; raises `ApiError` that names the field and what is wrong with it."""
    parts, size, shape = [], 0, JsonShape(max_values=MAX_VALUES, max_depth=MAX_DEPTH)
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise ApiError("body_too_large", f"The body is larger than {MOST_BYTES >> 20} MB.")
        parts.append(part)
        for start in range(0, len(part), 4096):
            shape.feed(part[start : start + 4096])
            if (why := shape.refusal()) is not None:
                if shape.deepest > MAX_DEPTH:
                    raise ApiError("invalid_json", f"The body is no JSON that is read here: it {why}.")
                raise ApiError("body_too_large", f"The body {why}.")
    try:
        text = b"".join(parts).decode("utf-8-sig")
        data = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        if _SURROGATE.search(text):
            data = _without_halves(data)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, NaN, nested without end
        raise ApiError("invalid_json", f"The body is no JSON: {str(error)[:200]}.") from error
    if not isinstance(data, dict):
        raise ApiError("invalid_json", "The body is no JSON object.")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        # of several alternatives the one that was meant is the one that reached deepest
        found = error.errors(include_input=False, include_url=False, include_context=False)
        wrong = max(found, key=lambda e: len(e["loc"]))
        param = _path(wrong["loc"], data)
        raise ApiError("invalid_value", f"{param or 'body'}: {wrong['msg']}.", param=param or None) from error


def _without_halves(data: Any) -> Any:
    """Half an emoji, as JavaScript leaves of a text that it cuts, becomes the replacement character: no engine takes it as it is."""
    return json.loads(json.dumps(data, ensure_ascii=False).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is larger than any number here")
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _path(loc: tuple[int | str, ...], data: Any) -> str:
    """As OpenAI writes it: messages[0].content. Names of alternatives, which pydantic puts between, are left out."""
    found: list[int | str] = []
    for place, part in enumerate(loc):
        within = (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int) and part < len(data))
        if within:
            data = data[part]
        if within or (place == len(loc) - 1 and isinstance(data, dict)):
            found.append(part)
    loc = tuple(found)
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
