"""Where tools come from: definitions as JSON, heads of Python functions, OpenAPI files, and what is wrong with them."""

from __future__ import annotations

import json

import pytest

from backend.errors import BadInput
from backend.tools.defining import built_in_specs, specs_from_openapi, specs_from_text, with_specs
from backend.tools.definitions import wrong_with
from backend.tools.from_openapi import tools_from_openapi
from backend.tools.from_python import tool_from_python
from backend.tools.kit import ToolKit

FUNCTION = '''
@tool
def find_trains(self, city: str, days: int = 3, *, unit: Literal["c", "f"] = "c", tags: list[str] | None = None,
                price: Annotated[float, Field(ge=0, description="at most")] = 1.5, who: "Optional[str]" = None, way: Route = None):
    """Finds trains.

    Args:
        city: where to, như Huế
        days (int): how many
            from today
    """
    raise SystemExit
'''
PETS = """
openapi: 3.0.3
servers: [{url: /v1}, {url: "{scheme}://api.example/v{version}", variables: {scheme: {default: https}, version: {default: 2}}}]
paths:
  /pets/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: integer}}]
    get:
      operationId: tìmThú
      summary: Finds a pet
      parameters:
        - {name: limit, in: query, description: how many, schema: {type: integer, minimum: 0, exclusiveMinimum: true}}
        - {name: X-Key, in: header, required: true, schema: {type: string}}
      responses: {200: {description: ok, content: {application/json: {schema: {$ref: "#/nowhere"}}}}}
    put:
      requestBody: {required: true, content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}}
    post:
      requestBody: {required: true, content: {application/json: {schema: {type: array, items: {$ref: "#/components/schemas/Pet"}}}}}
    trace: {deprecated: true}
components:
  schemas:
    Being: {type: object, required: [name], properties: {name: {type: string, nullable: true, enum: [no, yes]}}}
    Pet:
      allOf:
        - {$ref: "#/components/schemas/Being"}
        - {type: object, required: [id], properties: {id: {type: integer, readOnly: true}, mother: {$ref: "#/components/schemas/Pet"}}}
"""


def test_a_python_head_becomes_a_tool_and_is_not_run():
    tool = tool_from_python(FUNCTION)
    assert (tool.name, tool.description) == ("find_trains", "Finds trains.")
    assert tool.parameters == {
        "type": "object",
        "required": ["city"],
        "properties": {
            "city": {"type": "string", "description": "where to, như Huế"},
            "days": {"type": "integer", "description": "how many from today", "default": 3},
            "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
            "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}], "default": None},
            "price": {"type": "number", "description": "at most", "minimum": 0, "default": 1.5},
            "who": {"type": ["string", "null"], "default": None},
            "way": {"description": "Route", "default": None},
        },
    }


@pytest.mark.parametrize(
    "head", ["def f(a: int) -> str", "async def f(a: int):", "    def f(a: int):\n        ...", "def f(a: int): return 1"]
)
def test_a_head_may_lack_its_body(head):
    assert tool_from_python(head).parameters["properties"] == {"a": {"type": "integer"}}


@pytest.mark.parametrize("style", ["\n:param a: the start\n", "\nParameters\n----------\na : int\n    the start\n"])
def test_docstrings_of_every_style_describe(style):
    source = f'def f(a: int):\n    """Doc.\n{style.replace(chr(10), chr(10) + "    ")}\n    """'
    assert tool_from_python(source).parameters["properties"]["a"]["description"] == "the start"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def f(a: int", "error in line 1"),
        ("x = 1", "defines no function"),
        ("def f(*a): ...", r"takes \*a"),
        ("def f(" * 300, "Python text"),
    ],
)
def test_python_that_is_no_tool(source, why):
    with pytest.raises(BadInput, match=why):
        tool_from_python(source)


def test_an_openapi_file_becomes_tools_whose_schemas_stand_alone():
    get, put, post, trace = tools_from_openapi(PETS)
    assert (get.tool.name, get.tool.description, get.method) == ("timThu", "Finds a pet", "GET")
    assert get.url == "https://api.example/v2/pets/{id}?limit={limit}"
    limit = {"type": "integer", "exclusiveMinimum": 0, "description": "how many"}
    assert get.tool.parameters == {"type": "object", "properties": {"id": {"type": "integer"}, "limit": limit}, "required": ["id"]}
    assert put.url == "https://api.example/v2/pets/{id}"
    assert set(put.tool.parameters["properties"]) == {"id", "name", "mother"}
    assert put.tool.parameters["required"] == ["id", "name"]
    cat = {"id": 1, "name": "no", "mother": {"name": None, "mother": {"name": "yes"}}}
    assert wrong_with(cat, put.tool.parameters) is None
    assert "'maybe' is not one of" in wrong_with({**cat, "mother": {"name": "maybe"}}, put.tool.parameters)
    assert post.url == "", "a list is no JSON object: its arguments cannot be sent as they are"
    assert wrong_with({"id": 1, "body": [cat]}, post.tool.parameters) is None
    assert trace.url == "" and trace.tool.description == "Deprecated. TRACE /pets/{id}"


def test_the_same_file_as_json_and_its_tools_wait_to_be_switched_on():
    import yaml

    as_json = json.dumps(yaml.safe_load(PETS.replace("[no, yes]", '["no", "yes"]')))
    specs = specs_from_openapi(as_json)
    assert [spec.tool for spec in specs] == [found.tool for found in tools_from_openapi(PETS)]
    assert [(spec.by, spec.method, spec.on) for spec in specs] == [
        ("http", "GET", False), ("http", "PUT", False), ("hand", "POST", False), ("hand", "POST", False),
    ]  # fmt: skip


def with_schema(schema):
    content = {"application/json": {"schema": schema}}
    paths = {"/a": {"post": {"requestBody": {"content": content}}}}
    return json.dumps({"openapi": "3.1.0", "paths": paths, "components": {"schemas": {"Loop": {"$ref": "#/components/schemas/Loop"}}}})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("[]", "no OpenAPI file"),
        ("{", "no JSON: .* in line 1"),
        ("a: [", "no YAML: .* in line"),
        ("a: !!python/object:os.system {}", "no YAML"),
        ('{"swagger": "2.0"}', "Swagger 2.0"),
        ('{"openapi": "4.0"}', "OpenAPI 4.0 is not read"),
        ('{"openapi": "3.1.0"}', "describes no operation"),
        ('{"openapi": "3.1.0", "webhooks": {}}', "describes no operation"),
        ("openapi: 3.0.0\na: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*{'a' if not n else f'b{n - 1}'}, *{'a' if not n else f'b{n - 1}'}]\n" for n in range(25)), "aliases"),
        ("x" * 5_000_001, "larger than 5 MB"),
        (with_schema({"type": "array", "items": {"$ref": "https://evil.example/x.json"}}), "outside itself"),
        (with_schema({"$ref": "#/components/schemas/None"}), "leads to nothing"),
        ('{"openapi": "3.1.0", "paths": {"/a": {"$ref": "#/paths/~1a"}}}', "back to itself"),
        ("openapi: 3.1.0\npaths: {/a: {get: {parameters: [{name: n, in: query, schema: {type: integer, minimum: .inf}}]}}}", "JSON cannot hold"),
    ],
    ids=range(15),
)  # fmt: skip
def test_files_that_are_wrong(text, why):
    with pytest.raises(BadInput, match=why):
        tools_from_openapi(text)


def test_a_schema_that_is_only_itself_does_not_hang():
    tool = tools_from_openapi(with_schema({"$ref": "#/components/schemas/Loop"}))[0].tool
    assert "without end" in wrong_with({"body": 1}, tool.parameters)


def test_definitions_as_json_come_with_and_without_their_envelope():
    plain = {"name": "now", "description": "the time"}
    wrapped = [{"type": "function", "function": plain}, {"name": "then", "inputSchema": {"type": "object"}}]
    assert [spec.tool.name for spec in specs_from_text(json.dumps(wrapped))] == ["now", "then"]
    spec = specs_from_text(json.dumps(plain), "http://127.0.0.1:9/now")[0]
    assert (spec.by, spec.url, spec.policy) == ("http", "http://127.0.0.1:9/now", "ask")


@pytest.mark.parametrize(
    ("text", "url", "why"),
    [
        ("", "", "no definition yet"),
        ("{", "", "no JSON"),
        ("[1]", "", "has a name"),
        ('{"name": "a b"}', "", "is no tool name"),
        ('{"name": "a", "parameters": 1}', "", "are no object"),
        ('{"name": "a", "parameters": {"type": "strin"}}', "", "no JSON Schema that can be used: at type"),
        ('[{"name": "a"}, {"name": "a"}]', "", "Two tools"),
        ('{"name": "a"}', "ftp://x", "begins with http"),
    ],
)
def test_definitions_that_are_wrong(text, url, why):
    with pytest.raises(BadInput, match=why):
        specs_from_text(text, url)


def test_a_tool_takes_the_place_of_one_of_its_name():
    kit, there = with_specs(ToolKit(), built_in_specs())
    assert there == []
    kit, there = with_specs(kit, specs_from_text('{"name": "calculator"}'))
    assert there == ["calculator"]
    assert [spec.by for spec in kit.specs if spec.tool.name == "calculator"] == ["hand"]
    assert len(kit.specs) == 5
