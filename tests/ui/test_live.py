"""What the live part says while there is nothing to read yet."""

from __future__ import annotations

import re

import pytest

from backend import Called, Step
from backend.run import Run
from backend.types import ChatRequest, Finished, Message, TextDelta, Waiting
from tests.ui.tab import until
from tests.ui.test_drawing import CODE, asked, nothing_kept  # noqa: F401
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


async def test_an_answer_goes_on_while_a_block_of_it_is_laid_out(asked):  # noqa: F811
    stand_in, run = asked(), a_run()
    stand_in.held.clear()
    view = LiveView(run)
    run.take(TextDelta(f"Hello.\n\n{CODE}\n"))
    assert view.value()["blocks"] == ["<p>Hello.</p>\n"]
    run.take(TextDelta("more"))
    assert view.value()["tail"] == f"{CODE}\nmore"  # nobody waited for it
    stand_in.held.set()
    await until(lambda: view.value()["blocks"] == ["<p>Hello.</p>\n", "<p>drawn</p>"])
    assert view.value()["tail"] == "more" and len(stand_in.texts) == 1


async def test_a_step_is_plain_until_it_is_laid_out(asked):  # noqa: F811
    stand_in, run = asked(), a_run()
    stand_in.held.clear()
    run.steps = (Step((Called("1", "look", "{}"),), content=f"<b> {CODE}"),)
    view = LiveView(run)
    assert "&lt;b&gt;" in view.value()["steps"][0]["html"]
    stand_in.held.set()
    await until(lambda: "<p>drawn</p>" in view.value()["steps"][0]["html"])
    assert len(stand_in.texts) == 1


async def test_a_pane_that_has_ended_shows_all_of_its_answer_laid_out(asked):  # noqa: F811
    stand_in, run = asked(), a_run()
    run.take(TextDelta(f"Hello.\n\n{CODE}"))
    run.take(Finished("stop"))
    values = [value async for value in follow_panes({0: run}, {}, frozenset(), lambda: False, lambda: True)]
    assert values[-1]["panes"][0]["blocks"] == ["<p>Hello.</p>\n", "<p>drawn</p>"] and values[-1]["panes"][0]["tail"] == ""
    assert len(stand_in.texts) == 1


def test_what_ended_but_is_not_laid_out_yet_is_all_there(asked):  # noqa: F811
    asked().held.clear()
    run = a_run()
    run.take(TextDelta(CODE))
    run.take(Finished("stop"))
    value = PaneView(run, None, lambda: False, waits=False).value()
    assert value["blocks"] == [] and value["tail"] == CODE
