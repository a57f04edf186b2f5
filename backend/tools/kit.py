"""The tools of a chat: which are offered, who answers each, and whether it asks first. Plain data that a chat keeps; runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from backend.addresses import has_scheme
from backend.display import display_name
from backend.errors import BadInput
from backend.tools.definitions import check_tools
from backend.types import Tool, ToolChoice, Tools

Answerer = Literal["hand", "built_in", "http", "mcp"]
Policy = Literal["ask", "always", "never"]
HttpMethod = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
MAX_ADDRESS_CHARS = 300  # as they are shown
FEWEST_ROUNDS, MOST_ROUNDS = 1, 32


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool. `url` and `method` are those of an HTTP tool; `server` and `remote` (its name there) are those of an
    MCP tool, with the server's address or command as `url`."""

    tool: Tool
    by: Answerer = "hand"
    policy: Policy = "ask"
    on: bool = True
    url: str = ""
    method: HttpMethod = "POST"
    server: str = ""
    remote: str = ""

    @property
    def where(self) -> str | None:
        """Where its calls go, for the person who is asked: the address without its query, or the MCP server's name."""
        if self.by == "mcp":
            name = "" if self.remote in ("", self.tool.name) else f": {self.remote}"
            return display_name(f"{self.server}{name}")
        return display_name(self.url.partition("?")[0], MAX_ADDRESS_CHARS) if self.by == "http" else None


@dataclass(frozen=True, slots=True)
class ToolKit:
    """`choice` and `name` as in `Tools`; `rounds` is how often results may go back before the model has to answer."""

    specs: tuple[ToolSpec, ...] = ()
    choice: ToolChoice = "auto"
    name: str | None = None
    parallel: bool | None = None
    rounds: int = 8

    @property
    def active(self) -> tuple[ToolSpec, ...]:
        return tuple(spec for spec in self.specs if spec.on)

    def offered(self) -> Tools | None:
        """What the request offers; `None` where nothing is switched on. Raises `BadInput` for a definition that is wrong."""
        tools = tuple(spec.tool for spec in self.active)
        if not tools:
            return None
        check_tools(tools)
        if self.choice == "named" and self.name not in {tool.name for tool in tools}:
            raise BadInput(f"The tool that must be called, {self.name!r}, is not switched on.", hint="Switch it on, or choose auto.")
        return Tools(tools, self.choice, self.name if self.choice == "named" else None, self.parallel)

    def stored(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


_KIT = TypeAdapter(ToolKit)
_EMPTY: Mapping[str, Any] = {}


def kit_from(stored: object) -> ToolKit:
    """What `stored` gave; an empty kit where it is something else, since browsers and files bring it, too."""
    try:
        kit = _KIT.validate_python(stored or _EMPTY)
    except ValidationError:
        return ToolKit()
    return kit if FEWEST_ROUNDS <= kit.rounds <= MOST_ROUNDS else ToolKit(kit.specs, kit.choice, kit.name, kit.parallel)


def without_commands(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a chat for a file: the command lines of MCP programs, which tell of this machine and may hold a key, stay here."""
    kit = kit_from(stored.get("tools"))
    if not kit.specs:
        return {name: value for name, value in stored.items() if name != "tools"}
    specs = tuple(replace(spec, url="") if spec.by == "mcp" and not has_scheme(spec.url) else spec for spec in kit.specs)
    return {**stored, "tools": replace(kit, specs=specs).stored()}


def asking_again(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a chat that came with a file: what calls an address asks first, whatever was agreed to where the file was made."""
    kit = kit_from(stored.get("tools"))
    if not kit.specs:
        return {name: value for name, value in stored.items() if name != "tools"}
    specs = tuple(replace(spec, policy="ask") if spec.by in ("http", "mcp") and spec.policy == "always" else spec for spec in kit.specs)
    return {**stored, "tools": replace(kit, specs=specs).stored()}
