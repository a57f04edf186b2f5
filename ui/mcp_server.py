"""What the page offers to other programs through gradio's own MCP server, at /gradio_api/mcp/: its models, one asked, several compared.

Called directly and not through gradio's queue, so that a call that is given up ends its answers too. The same functions stand under
/gradio_api/run/NAME, and the same token guards both.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import gradio as gr
from starlette.datastructures import Headers
from starlette.requests import Request

from backend import Answered, Asking, BackendError

PATH = "/gradio_api/mcp/"
GONE_CHECK_S = 0.5
T = TypeVar("T")


def offer(asking: Asking) -> None:
    """Inside the page's blocks."""
    server = _Offered(asking)
    for function in (server.list_models, server.chat, server.compare):
        gr.api(function, api_name=function.__name__, queue=False)


class _Offered:
    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    # docstrings and annotations are what MCP clients see: gradio reads them, the annotations as objects
    async def list_models(self, request: gr.Request) -> str:
        """Lists the models that can be asked now, with their names for chat and compare.

        Returns:
            JSON: name, title and place of each model.
        """
        self._admit(request)
        choices = await self._asking.models()
        return _json([{"name": each.name, "title": each.title, "where": each.place} for each in choices])

    async def chat(
        self, request: gr.Request, prompt: str, model: str = "", system: str = "", max_tokens: int = 0, with_thinking: bool = False
    ) -> str:
        """Asks one model, as Qwen3-Next, one question and returns the whole answer.

        Args:
            prompt: The question or task, with all that is needed to answer it: nothing is remembered between calls.
            model: A name that list_models gave; the host's default model where it is empty.
            system: The system prompt, if there is to be one.
            max_tokens: The longest answer in tokens; the model's default where it is 0.
            with_thinking: Whether the model's reasoning comes along with the answer.
        Returns:
            JSON: the answer with its token counts and times.
        """
        self._admit(request)
        try:
            answered = await _while_wanted(request, self._asking.ask(model, prompt, system=system, max_tokens=max_tokens or None))
        except BackendError as error:
            raise _Refused(f"{error.message} {error.hint}".strip(), print_exception=False) from error
        return _json(_told(answered, with_thinking))

    async def compare(
        self, request: gr.Request, prompt: str, models: list[str], system: str = "", max_tokens: int = 0, with_thinking: bool = False
    ) -> str:
        """Asks several models the same question at the same time and returns their answers side by side.

        Args:
            prompt: The question or task, with all that is needed to answer it.
            models: Two to four names that list_models gave.
            system: The system prompt for all of them, if there is to be one.
            max_tokens: The longest answer of each in tokens; the model's default where it is 0.
            with_thinking: Whether the models' reasoning comes along with the answers.
        Returns:
            JSON: one answer a model with its token counts and times, or why there is none.
        """
        self._admit(request)
        try:
            answered = await _while_wanted(request, self._asking.ask_all(models, prompt, system=system, max_tokens=max_tokens or None))
        except BackendError as error:
            raise _Refused(f"{error.message} {error.hint}".strip(), print_exception=False) from error
        return _json([_told(each, with_thinking) for each in answered])

    def _admit(self, request: Any) -> None:
        scope = _own(request).scope
        try:
            self._asking.admit(scope, Headers(scope=scope))
        except BackendError as error:
            raise _Refused(error.message, print_exception=False) from error


def _own(request: Any) -> Request:
    """What is handed in is gradio's, or of a call over MCP the server's own."""
    found: Request = getattr(request, "request", request)
    return found


async def _while_wanted(request: Any, answering: Coroutine[Any, Any, T]) -> T:
    """Ends the answer when its caller is gone, which neither gradio nor the MCP SDK tells."""
    task = asyncio.create_task(answering)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=GONE_CHECK_S)
            if not task.done() and await _own(request).is_disconnected():
                raise _Refused("The caller is gone.", print_exception=False)
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class _Refused(gr.Error):
    """Whose text is its sentence, and not a Python string in quotes."""

    def __str__(self) -> str:
        return str(self.message)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _told(answered: Answered, with_thinking: bool) -> dict[str, Any]:
    """Without what is not known: a caller that is a model pays for every word."""
    if answered.error is not None:
        return {"model": answered.model, "error": answered.error}
    figures = {**dataclasses.asdict(answered.usage), "ttft_s": answered.timing.ttft_s, "total_s": answered.timing.total_s}
    known = {name: round(value, 3) for name, value in figures.items() if isinstance(value, int | float)}
    trace = {"thinking": answered.thinking} if with_thinking and answered.thinking else {}
    return {"model": answered.model, "answer": answered.text, **trace, **known}
