"""The rules of the house, read from the imports: app -> ui -> backend, no engine named on the page, nothing heavy at the start."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "accelerate", "bitsandbytes", "safetensors")


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path, *, at_import: bool = False) -> Iterator[str]:
    """Names imported anywhere in a file, or with `at_import` only those that run when it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif not at_import or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            todo += list(ast.iter_child_nodes(node))


@pytest.mark.parametrize("path", modules("backend"), ids=lambda p: str(p.relative_to(ROOT)))
def test_backend_knows_no_page_and_stays_light(path):
    names = {name.split(".")[0] for name in imported(path)}
    assert not names & {"gradio", "ui", "app"}
    if "local" not in path.relative_to(ROOT / "backend").parts:
        assert not {n.split(".")[0] for n in imported(path, at_import=True)} & set(HEAVY)


@pytest.mark.parametrize("path", modules("ui"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_page_knows_only_what_the_backend_exports(path):
    assert not [name for name in imported(path) if name.startswith("backend.") and name != "backend.catalogue"]


@pytest.mark.parametrize("path", modules("backend", "ui"), ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_say_what_they_hold(path):
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text))


def test_the_page_starts_without_torch():
    code = f"import sys; import app, backend, ui.app; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
