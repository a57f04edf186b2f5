"""The words of tools and of answers in JSON, in English."""

from __future__ import annotations


class ToolsEnglish:
    seg_tools = "Tools"
    tools_intro = "Functions that the model may call. They go with every question of this chat that is asked while they are switched on."
    tools_none = "No tool yet. Add the built-in ones, write a definition, or import some."
    tools_builtin = "Add the built-in tools"
    tools_definition = "Definition"
    tools_definition_hint = (
        "JSON: name, description and parameters, a JSON Schema of an object. A Python function's head with its docstring works too."
    )
    tools_example = (
        "{\n"
        '  "name": "get_weather",\n'
        '  "description": "The weather in a city",\n'
        '  "parameters": {\n'
        '    "type": "object",\n'
        '    "properties": {"city": {"type": "string"}},\n'
        '    "required": ["city"]\n'
        "  }\n"
        "}"
    )
    tools_url = "Address that answers it"
    tools_url_hint = "Empty: you type the result. Else each call is sent there as JSON."
    tools_url_public = "Not on a public page: you type the results."
    tools_add = "Add tool"
    tools_added = "Added: {names}."
    tools_replaced = "Replaced: {names}."
    tools_import = "Import an OpenAPI file"
    tools_imported = "{n} tools imported from {name}. They are switched off: switch on those that are needed."
    tools_header = "Header (optional)"
    tools_header_hint = "Kept in memory until the app ends; in no chat and no file."
    mcp_title = "MCP server"
    mcp_address = "Address or command"
    mcp_hint = "A URL of streamable HTTP, or the command that starts a server on this machine, as python -m mcp_server_time."
    mcp_hint_public = "A URL of streamable HTTP that the internet reaches."
    mcp_connect = "Connect"
    mcp_connected = "{n} tools of {name}: {names}."
    tools_by = {"hand": "by hand", "built_in": "built in", "http": "over HTTP", "mcp": "MCP"}
    tools_policies = {"ask": "ask first", "always": "always run", "never": "never run"}
    tools_choice = "The model"
    tools_choices = {"auto": "may call", "none": "may not call", "required": "has to call one"}
    tools_choice_named = "has to call {name}"
    tools_parallel = "several calls at once"
    tools_rounds = "rounds at most"
    tools_edit = "Edit"
    tools_remove = "Remove"
    tools_who = "Who answers {name}"
    tools_when = "When {name} runs"
    tools_on = "Offer {name}"
    json_title = "Answer in JSON"
    json_on = "Hold the answer to this JSON Schema"
    json_schema = "JSON Schema"
    json_hint = "Empty: any JSON object. What the answer does not keep to is marked below it."
    json_bad = "The schema is no JSON: {reason}"
    json_fits = "Keeps to the schema."
    json_any = "Is a JSON object."
    json_no_json = "Is no JSON: {reason}"
    json_wrong = "{n} places do not keep to the schema."
    json_wrong_one = "One place does not keep to the schema."
    # cards
    call_states = {
        "called": "not answered yet",
        "asking": "may it run?",
        "waiting": "waits for its result",
        "running": "running",
        "done": "done",
        "failed": "failed",
        "refused": "not run",
    }
    call_writing = "being written"
    call_by = {"hand": "answered by you", "built_in": "built in", "http": "over HTTP", "mcp": "MCP"}
    call_arguments = "arguments"
    call_no_arguments = "no arguments"
    call_fits = "fit the schema"
    call_result = "result"
    call_type = "Type the result of {name}"
    call_send = "Send the result"
    call_no_result = "No result"
    call_run = "Run it"
    call_refuse = "Do not run"
    call_always = "Always run {name}"
    call_never = "Never run {name}"
    call_gone = "This call is not waiting any more."
    call_gone_hint = "It was answered in another window, or the answer was stopped."
