"""The events of tools: adding and importing them, and what a person decides about a call."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from backend import BackendError, BadInput, Decision, ToolSpec, built_in_specs, kit_from, specs_from_openapi, specs_from_text, with_specs
from ui import render
from ui.chat import ChatTab
from ui.layout import Page
from ui.markup import esc
from ui.text import WORDS as W
from ui.updates import Updates
from ui.visitor import Session, from_here


class ToolPanel:
    """The handlers. The kit itself lives in the page, as the list's value."""

    def __init__(self, page: Page, tab: ChatTab) -> None:
        self.page = page
        self.tab = tab

    def add(self, definition: str | None, url: str | None, header: str | None, kit: Any, request: gr.Request) -> Updates:
        """What is written in the definition's box, in the place of a tool of that name."""
        try:
            specs = self._specs(definition or "", "" if self.tab.backend.settings.public else (url or "").strip(), kit)
            self.tab.backend.toolbox.keep_headers(self.tab.owner(request), url or "", header or "")
            made, there = with_specs(kit_from(kit), specs)
        except BackendError as error:
            return self._note(error)
        names = ", ".join(spec.tool.name for spec in specs)
        said = W.tools_replaced if len(there) == len(specs) else W.tools_added
        return {self.page.panel.tools: made.stored(), **self._said(said.format(names=names))}

    @staticmethod
    def _specs(definition: str, url: str, kit: Any) -> list[ToolSpec]:
        """A tool that was edited, its address as it was, stays what it is: an MCP server's, a GET."""
        known = {spec.tool.name: spec for spec in kit_from(kit).specs}
        specs = specs_from_text(definition)
        edited = [known.get(spec.tool.name) for spec in specs]
        if not url or any(old is None or old.url != url for old in edited):
            specs = specs_from_text(definition, url)
        return [replace(old, tool=spec.tool) if old and old.url == url else spec for old, spec in zip(edited, specs, strict=True)]

    def add_built_in(self, kit: Any) -> Updates:
        made, _ = with_specs(kit_from(kit), specs := built_in_specs())
        return {self.page.panel.tools: made.stored(), **self._said(W.tools_added.format(names=", ".join(s.tool.name for s in specs)))}

    async def import_openapi(self, path: str, kit: Any) -> Updates:
        """One tool an operation of an OpenAPI file."""
        try:
            specs = await asyncio.to_thread(_read, Path(path))
            made, _ = with_specs(kit_from(kit), specs)
        except BackendError as error:
            return self._note(error)
        return {self.page.panel.tools: made.stored(), **self._said(W.tools_imported.format(n=len(specs), name=Path(path).name))}

    async def connect_mcp(self, address: str | None, header: str | None, kit: Any, request: gr.Request) -> Updates:
        """The tools of an MCP server, which ask before they run."""
        toolbox, owner, parts = self.tab.backend.toolbox, self.tab.owner(request), self.page.tools
        try:
            toolbox.keep_headers(owner, address or "", header or "")
            specs = await toolbox.connect_mcp(owner, address or "", kit_from(kit), from_here=from_here(request))
            made, _ = with_specs(kit_from(kit), specs)
        except BackendError as error:
            return self._note(error, parts.mcp_note)
        said = W.mcp_connected.format(n=len(specs), name=specs[0].server if specs else address, names=", ".join(s.tool.name for s in specs))
        return {self.page.panel.tools: made.stored(), **self._said(said, parts.mcp_note)}

    def decide(self, event: gr.EventData, session: Session, request: gr.Request) -> Updates:
        """A button on the card of a call: permission, refusal, or the result that was typed."""
        data = dict(event._data or {})
        run, call, wish = self.tab.running(session, request), str(data.get("call") or ""), str(data.get("decision") or "")
        decision = {
            "result": Decision(result=str(data.get("text") or "")),
            "deny": Decision(allow=False),
            "always": Decision(policy="always"),
            "never": Decision(allow=False, policy="never"),
        }.get(wish, Decision())
        if run is None or run.desk is None or not run.desk.decide(call, decision):
            raise gr.Error(f"{W.call_gone} {W.call_gone_hint}", duration=6)
        return {self.page.tools.note: gr.skip()}

    def _said(self, sentence: str, place: gr.HTML | None = None) -> Updates:
        return {place or self.page.tools.note: f"<p class='hint'>{esc(sentence)}</p>"}

    def _note(self, error: BackendError, place: gr.HTML | None = None) -> Updates:
        return {place or self.page.tools.note: render.error_card(error.message, error.hint, (), elem_id="tool-error")}


def _read(path: Path) -> list[Any]:
    try:
        return specs_from_openapi(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise BadInput(f"{path.name} is not UTF-8 text.", hint="Choose an OpenAPI file, as JSON or YAML.") from None
