"""The About tab's part on calling this host from elsewhere: code and settings with the address at which the reader's browser reached it."""

from __future__ import annotations

import json

import gradio as gr

from backend import TOKEN_VARIABLE, Capabilities, Settings, calling_snippets
from ui.markup import markdown
from ui.mcp_server import PATH
from ui.text import about_en as words

ADDRESS = "http://address.invalid"  # the page puts its own in place of it; nothing is ever called by this name
_PUT_ADDRESS = """
const own = location.origin + location.pathname.replace(/\\/+$/, '');
const text = element.querySelector('markdown-text');
text.write(text.source.replaceAll(props.placeholder, own));
"""


def calling(settings: Settings, model: str, capabilities: Capabilities) -> gr.HTML:
    text = f"<div class='answer'>{markdown(calling_text(settings, model, capabilities))}</div>"
    return gr.HTML(text, js_on_load=_PUT_ADDRESS, placeholder=ADDRESS, elem_id="calling", apply_default_css=False)


def calling_text(settings: Settings, model: str, capabilities: Capabilities) -> str:
    """As Markdown."""
    made = {snippet.title: snippet.text.strip() for snippet in calling_snippets(model, words.PROMPT, ADDRESS)}
    access = words.TOKEN if settings.api_token is not None else words.CLOSED if settings.public else words.OPEN
    return words.CALLING.format(
        address=ADDRESS, model=model, variable=TOKEN_VARIABLE, access=access.format(variable=TOKEN_VARIABLE),
        curl=made["curl"], openai=made["Python, openai"], langchain=made["Python, LangChain"],
        continue_=_continue(model, capabilities), mcp=_mcp(token=settings.api_token is not None),
    )  # fmt: skip


def _continue(model: str, capabilities: Capabilities) -> str:
    """Where a limit is known it is told: Continue would ask for more than a small model takes."""
    tools = "\n    capabilities: [tool_use]" if capabilities.takes_tools else ""
    most = capabilities.parameters.get("max_tokens")
    known = {"contextLength": capabilities.context_tokens, "maxTokens": None if most is None else int(most.max)}
    limits = "".join(f"\n      {name}: {value}" for name, value in known.items() if value is not None)
    options = f"\n    defaultCompletionOptions:{limits}" if limits else ""
    return f"""name: Qwen3-Next Playground
version: 1.0.0
schema: v1
models:
  - name: {json.dumps(f"Playground: {model}", ensure_ascii=False)}
    provider: openai
    model: {json.dumps(model, ensure_ascii=False)}
    apiBase: {ADDRESS}/v1
    apiKey: ${{{{ secrets.{TOKEN_VARIABLE} }}}}
    roles: [chat, edit, apply]{tools}{options}"""


def _mcp(*, token: bool) -> str:
    server = {"type": "http", "url": f"{ADDRESS}{PATH}"}
    if not token:
        return json.dumps({"servers": {"playground": server}}, indent=2)
    asked = [{"type": "promptString", "id": "playground-token", "description": TOKEN_VARIABLE, "password": True}]  # nosec B105: a flag
    headers = {"Authorization": "Bearer ${input:playground-token}"}
    return json.dumps({"inputs": asked, "servers": {"playground": {**server, "headers": headers}}}, indent=2)
