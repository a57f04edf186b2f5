"""Posts that a page of another site may send without asking first (a form, plain text, no type) are refused and run nothing.

That rests on fastapi's `strict_content_type`, which older versions do not have: hence its pin in requirements.txt."""

from __future__ import annotations

import json

import httpx2
import pytest
from fastapi.routing import APIRoute

from tests.running_page import running_page

FILES = {"/gradio_api/upload"}  # multipart is what it is for: it keeps a file, and runs nothing
CALL = {"data": [], "fn_index": 0, "session_hash": "abc", "event_id": "abc"}


@pytest.fixture(scope="module")
def page():
    with running_page() as (url, backend), httpx2.Client(base_url=url, timeout=30) as client:
        yield client, backend


def posts() -> list[str]:
    """All addresses of the page that take a post."""
    import gradio as gr
    from gradio.routes import App

    with gr.Blocks() as blocks:
        gr.Button().click(lambda: None)
    # App keeps its routers inside its routes
    todo, found = list(App.create_app(blocks).routes), set()
    while todo:
        route = todo.pop()
        todo += getattr(getattr(route, "original_router", None), "routes", [])
        if isinstance(route, APIRoute) and "POST" in route.methods:
            found.add(route.path)
    return sorted(path if path.startswith("/gradio_api") or path in ("/login", "/login/") else f"/gradio_api{path}" for path in found)


def test_the_list_is_the_pages():
    assert {"/gradio_api/queue/join", "/gradio_api/run/{api_name}", "/gradio_api/call/{api_name}"} <= set(posts())


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None])
def test_simple_posts_are_refused(page, kind):
    client, backend = page
    for path in posts():
        if path in FILES:
            continue
        address = path.replace("{api_name:path}", "chat").replace("{api_name}", "chat").replace("{event_id}", "abc")
        headers = {"Content-Type": kind} if kind else {}
        answer = client.post(address, content=json.dumps(CALL).encode(), headers=headers)
        assert 400 <= answer.status_code < 500, (path, kind, answer.status_code, answer.text[:200])
    assert not backend.runs.active("local")


def test_the_same_call_as_json_is_taken(page):
    client, _ = page
    assert client.post("/gradio_api/queue/join", json=CALL).status_code == 200
