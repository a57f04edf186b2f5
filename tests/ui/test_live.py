"""What the live part says while there is nothing to read yet."""

from __future__ import annotations

import re

import pytest

from backend import Called, Step
from backend.run import Run
from backend.types import ChatRequest, Finished, Message, TextDelta, Waiting
from ui.compare.live import PaneView
from ui.compare.live import follow as follow_panes
from ui.live import LiveView


def a_run():
    return Run(owner="me", conversation_id="c", node_id="n", model="local:demo", request=ChatRequest("demo", (Message("user", "hi"),)))


@pytest.mark.parametrize(
    ("waiting", "says"),
    [
        (Waiting("loading", detail="loading"), r"loading · \d+ s"),
        (Waiting("loading", detail="fetching"), r"loading · fetching · \d+ s"),
        (Waiting("loading", share=0.44, detail="fetching"), r"loading 44 % · fetching"),
        (Waiting("queued", position=2), r"queued · place 2 in the queue"),
    ],
)
def test_a_wait_says_what_for_and_shows_that_time_passes(waiting, says):
    run = a_run()
    run.take(waiting)
    assert re.fullmatch(says, LiveView(run).value()["wait"])


def test_an_answer_goes_to_the_page_as_it_was_written_and_says_when_it_is_whole():
    run = a_run()
    run.take(TextDelta("**Hello** <b>\n"))
    value = LiveView(run).value()
    assert (value["answer"], value["plain"], value["ended"]) == ("**Hello** <b>\n", False, False)
    run.take(Finished("stop"))
    value = PaneView(run, None, lambda: False, waits=False).value()
    assert (value["answer"], value["ended"]) == ("**Hello** <b>\n", True)


def test_json_is_no_markdown():
    run = Run(
        owner="me",
        conversation_id="c",
        node_id="n",
        model="m",
        request=ChatRequest("m", (Message("user", "hi"),), format={"type": "json_object"}),
    )
    run.take(TextDelta('{"a": "**"}'))
    assert LiveView(run).value()["plain"]


async def test_a_step_is_drawn_by_the_page():
    run = a_run()
    run.steps = (Step((Called("1", "look", "{}"),), content="<b> **x**"),)
    assert "<markdown-text>&lt;b&gt; **x**</markdown-text>" in LiveView(run).value()["steps"][0]["html"]


async def test_a_pane_that_has_ended_shows_all_of_its_answer():
    run = a_run()
    run.take(TextDelta("Hello."))
    run.take(Finished("stop"))
    values = [value async for value in follow_panes({0: run}, {}, frozenset(), lambda: False, lambda: True)]
    assert (values[-1]["panes"][0]["answer"], values[-1]["panes"][0]["ended"]) == ("Hello.", True)
