"""The emulator's routes: DashScope native and compatible, a vLLM-like `/v1`, and `/mock/state`, on one port.

Not emulated: several answers to one prompt (`n` is checked, one answer comes), log-probabilities, search, files, batches.
The key is never kept: only whether it is there, and whether it is the one that is to be refused.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.catalogue import Catalogue, ModelCard, catalogue
from backend.errors import BadInput, ConfigError
from backend.mock import compatible, native, refusals, validation, vllm
from backend.mock.answering import Answer, PacedResponse
from backend.mock.call import Call, Surface
from backend.mock.config import MockConfig
from backend.mock.faults import Fault, Faults
from backend.mock.refusals import Refusal
from backend.mock.scenarios import compose
from backend.mock.state import MockRun, State
from backend.mock.wire import Framer, Reply
from backend.recording import Recording, load

log = logging.getLogger(__name__)

BAD_GATEWAY = """<html>\r
<head><title>502 Bad Gateway</title></head>\r
<body>\r
<center><h1>502 Bad Gateway</h1></center>\r
<hr><center>nginx</center>\r
</body>\r
</html>\r
"""


@dataclass(frozen=True, slots=True)
class _Kit:
    """What differs between the surfaces."""

    surface: Surface
    read: Callable[[Mapping[str, Any], Mapping[str, str]], Call]
    refused: Callable[[Refusal, str, bool], Reply]
    check: Callable[[Call, ModelCard, int | None], Refusal | None]
    unknown_model: Callable[[str], Refusal]


_NATIVE = _Kit("native", native.read, native.refused, validation.check, refusals.unknown_model)
_COMPATIBLE = _Kit("compatible", compatible.read, compatible.refused, validation.check, refusals.unknown_model)
_SERVER = _Kit("server", vllm.read, vllm.refused, vllm.check, vllm.unknown_model)


class Emulator:
    """Holds what outlives a request: recordings, faults' counts, state."""

    def __init__(self, config: MockConfig, models: Catalogue) -> None:
        self.config, self.state = config, State(config.kept_runs, config.kept_requests)
        self._models, self._rng = models, random.Random(config.seed)  # nosec B311: texts of the emulator
        self._recordings = _recordings(config)
        try:
            self._faults = Faults(config, self._rng)
        except ValueError as error:
            raise ConfigError(f"The emulator's fault switch is wrong: {error}.", hint="Choose one of these names.") from error

    async def answer(self, kit: _Kit, request: Request) -> Response:
        """One generation request on any surface."""
        raw = await request.body()
        try:
            body = json.loads(raw, parse_constant=_no_number)
        except (ValueError, RecursionError):
            body = None
        run = self.state.open(kit.surface, request.url.path, request.headers, body)
        call = kit.read(body if isinstance(body, dict) else {}, request.headers)
        run.model, run.stream = call.model, call.stream
        if self._key_refused(request, kit.surface):
            return self._refuse(kit, run, refusals.WRONG_KEY)
        if not isinstance(body, dict):
            return self._refuse(kit, run, refusals.WRONG_BODY)
        try:
            fault = self._faults.for_call(call, request.headers.get("x-mock-fault"))
        except ValueError as error:
            return self._refuse(kit, run, refusals.invalid(f"The emulator has no such fault: {error}."))
        run.fault = fault.name if fault else None
        return self._answer(kit, run, call, fault)

    def _answer(self, kit: _Kit, run: MockRun, call: Call, fault: Fault | None) -> Response:
        if fault is not None and fault.name == "html":
            run.status = 502
            run.close("failed")
            return Response(BAD_GATEWAY, status_code=502, media_type="text/html")
        if fault is not None and fault.refusal is not None and not (call.stream and fault.in_stream):
            return self._refuse(kit, run, fault.refusal)
        card = self._card(kit.surface, call.model)
        if not call.model:
            return self._refuse(kit, run, refusals.NO_MODEL)
        if card is None:
            return self._refuse(kit, run, kit.unknown_model(call.model))
        wrong = kit.check(call, card, self.config.max_input_tokens)
        if wrong is not None:
            return self._refuse(kit, run, wrong)
        script = compose(call, card, self.config, self._recordings, self._rng)
        frames = self._frames(call, card, run.id)
        answer = Answer(run, frames, script, call.input_tokens, call.stream, fault)
        return PacedResponse(answer, _headers(kit.surface, run.id))

    async def list_models(self, surface: Surface, request: Request) -> Response:
        if self._key_refused(request, surface):
            kit = _SERVER if surface == "server" else _COMPATIBLE
            return self._refuse(kit, MockRun(surface), refusals.WRONG_KEY)
        if surface == "server":
            return JSONResponse(vllm.models(self._cards(surface), self.config.max_input_tokens))
        return JSONResponse(compatible.models(self._cards(surface)))

    def _frames(self, call: Call, card: ModelCard, request_id: str) -> Framer:
        if call.surface == "native":
            return native.NativeFrames(call, card, request_id)
        if call.surface == "compatible":
            return compatible.CompatibleFrames(call, card, request_id)
        return vllm.VllmFrames(call, card, request_id, vllm.style_of(call, self.config.server_style))

    def _cards(self, surface: Surface) -> list[ModelCard]:
        if surface == "server":
            return [*(m for m in self._models.models if m.engine == "checkpoint"), vllm.UNLISTED]
        return [m for m in self._models.models if m.engine == "dashscope"]

    def _card(self, surface: Surface, model: str) -> ModelCard | None:
        return next((card for card in self._cards(surface) if card.id == model), None)

    def _key_refused(self, request: Request, surface: Surface) -> bool:
        """DashScope wants some key; a vLLM server runs without one. The configured bad key is refused by all."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip() if scheme.casefold() == "bearer" else ""
        return key == self.config.bad_key or (not key and surface != "server")

    def _refuse(self, kit: _Kit, run: MockRun, refusal: Refusal) -> Response:
        run.status, run.code = refusal.status, refusal.native
        run.close("failed")
        reply = kit.refused(refusal, run.id, run.stream)
        headers = _headers(kit.surface, run.id)
        if refusal.retry_after_s is not None:
            headers["retry-after"] = str(refusal.retry_after_s)
        return Response(reply.body, reply.status, {**headers, "content-type": reply.media_type})


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _headers(surface: Surface, request_id: str) -> dict[str, str]:
    if surface == "server":
        return {}
    return {"x-request-id": request_id, "x-dashscope-call-gateway": "true"}


def _recordings(config: MockConfig) -> dict[str, Recording]:
    found: dict[str, Recording] = {}
    for path in sorted(config.recordings.glob("*.jsonl")):
        try:
            found[path.stem] = load(path)
        except BadInput as error:
            log.warning("recording left out: %s", error.message)
    return found


def create_app(config: MockConfig | None = None) -> Starlette:
    """The emulator as an ASGI app. Raises `ConfigError` for a fault switch that names no fault."""
    emulator = Emulator(config or MockConfig(), catalogue())

    async def shown(request: Request) -> Response:
        if request.method == "DELETE":
            emulator.state.clear()
        return Response(json.dumps(emulator.state.shown()), media_type="application/json")

    def post(path: str, kit: _Kit) -> Route:
        return Route(path, partial(emulator.answer, kit), methods=["POST"])

    return Starlette(
        routes=[
            post("/api/v1/services/aigc/text-generation/generation", _NATIVE),
            post("/compatible-mode/v1/chat/completions", _COMPATIBLE),
            post("/v1/chat/completions", _SERVER),
            Route("/compatible-mode/v1/models", partial(emulator.list_models, "compatible")),
            Route("/v1/models", partial(emulator.list_models, "server")),
            Route("/mock/state", shown, methods=["GET", "DELETE"]),
        ]
    )


def create_server(host: str, port: int, config: MockConfig | None = None, *, log_level: str = "info") -> uvicorn.Server:
    """A uvicorn server that is not running yet; its log leaves out the connections that are cut on purpose."""
    settings = uvicorn.Config(
        create_app(config),
        host=host,
        port=port,
        lifespan="off",
        access_log=False,
        server_header=False,
        log_level=log_level,
        timeout_graceful_shutdown=1,
    )
    logging.getLogger("uvicorn.error").addFilter(_on_purpose)
    return uvicorn.Server(settings)


def _on_purpose(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("ASGI callable returned without completing response")


async def serve(host: str = "127.0.0.1", port: int = 8090, config: MockConfig | None = None) -> None:
    """Serves until cancelled or interrupted."""
    await create_server(host, port, config).serve()


def main(host: str = "127.0.0.1", port: int = 8090, config: MockConfig | None = None) -> None:
    """`python app.py mock`: blocks until interrupted."""
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(host, port, config))
