"""Schemathesis over the running API: calls drawn from `/openapi.json`, right and wrong ones, none of which may break it.

This file is also the hooks that schemathesis loads in its own process. There calls keep to models that answer at once, and to short
answers, so that what is drawn meets engines and not only "no such model".
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

MODELS = (
    "dashscope:qwen3-next-80b-a3b-instruct",
    "dashscope:qwen3-next-80b-a3b-thinking",
    "server:default/Qwen/Qwen3-0.6B",
    "local:qwen3-next-tiny",
)
WHOLE = ("seed", "top_k", "draft_tokens", "max_tokens", "max_completion_tokens", "thinking_budget")
REAL = ("temperature", "top_p", "min_p", "presence_penalty", "repetition_penalty")
# an engine's own refusals (400, 503) are right answers to right bodies, so that a call that must be taken is no check here
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,"
    "negative_data_rejection,unsupported_method,allow_header_conformance"
)
OPTIONS = [
    "--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", "150", "--seed", "20261127",
    "--generation-deterministic", "--workers", "1", "--request-timeout", "20", "--no-color",
    "--header", "connection: close",  # on kept connections the sockets of these tests wait 40 ms for each acknowledgement
    "--suppress-health-check", "all", "--warnings", "off", "--continue-on-failure",
]  # fmt: skip

if os.environ.get("SCHEMATHESIS_HOOKS") == __file__:
    import schemathesis
    from schemathesis.core.deserialization import DeserializationContext
    from schemathesis.core.transport import Response
    from schemathesis.hooks import HookContext

    @schemathesis.hook
    def before_call(context: HookContext, case: schemathesis.Case, kwargs: dict[str, object]) -> None:
        """A name becomes a model's, chosen by the body itself: the same run every time. Numbers come into every model's range, which is
        no matter of the schema; what is of the wrong type stays so."""
        body = case.body
        if isinstance(body, dict) and isinstance(body.get("model"), str) and body["model"]:
            models = MODELS if "messages" in body else MODELS[-1:]
            tamed: dict[str, object] = {name: 3 for name in WHOLE if type(body.get(name)) is int}
            tamed |= {name: 0.5 for name in REAL if type(body.get(name)) in (int, float)}
            case.body = {**body, **tamed, "model": models[len(json.dumps(body, default=str)) % len(models)]}

    @schemathesis.deserializer("text/event-stream")
    def chunks(context: DeserializationContext, response: Response) -> list[object]:
        """The JSON of every `data:` line: each is held against the schema of one."""
        lines = response.content.decode().split("\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ") and line != "data: [DONE]"]


def test_drawn_calls_break_nothing_and_answers_fit(api, tmp_path, capsys):
    run = [sys.executable, "-m", "schemathesis.cli", "run", f"{api}/openapi.json", *OPTIONS]
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        run, cwd=tmp_path, env={**kept, "SCHEMATHESIS_HOOKS": __file__}, capture_output=True, text=True, timeout=300, check=False
    )
    with capsys.disabled():
        print(f"\n{done.stdout[done.stdout.find('= SUMMARY') :] if done.returncode == 0 else done.stdout}{done.stderr}")  # noqa: T201
    assert done.returncode == 0
    assert re.search(r"7 selected|Tested: +7", done.stdout) and Path(__file__).exists()
