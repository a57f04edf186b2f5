"""What runs the tools that answer by themselves: built in, over HTTP, on MCP servers. One for the process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from backend.settings import Settings
from backend.tools.kit import ToolKit, ToolSpec
from backend.tools.running import RunTool, ToolContext, ToolFailed


class Toolbox:
    """Knows from the settings what a visitor of this host may use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def runners(self, owner: str, kit: ToolKit) -> Mapping[str, RunTool]:
        """Those of `kit` that need nobody to type the result, by their names. Tools that cannot be run are left out; a call of one
        says so."""
        found: dict[str, RunTool] = {}
        for spec in kit.active:
            run = self._runner(owner, spec)
            if run is not None:
                found[spec.tool.name] = run
        return found

    def _runner(self, owner: str, spec: ToolSpec) -> RunTool | None:
        match spec.by:
            case "built_in":
                from backend.tools.built_in import BUILT_IN

                known = BUILT_IN.get(spec.tool.name)
                return None if known is None else known.run
            case "http":
                return partial(self._over_http, spec)
            case _:
                return None

    async def _over_http(self, spec: ToolSpec, arguments: Mapping[str, Any], context: ToolContext) -> str:
        if self._settings.public:
            raise ToolFailed("This public page calls no addresses for its visitors.")
        from backend.tools.http_tool import HttpTool, call_http

        return await call_http(HttpTool(spec.url, spec.method, {}), arguments, allow_private=True)
