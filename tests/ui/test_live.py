"""What the live part says while there is nothing to read yet."""

from __future__ import annotations

import re

import pytest

from backend.run import Run
from backend.types import ChatRequest, Message, Waiting
from ui.live import LiveView


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
    run = Run(owner="me", conversation_id="c", node_id="n", model="local:demo", request=ChatRequest("demo", (Message("user", "hi"),)))
    run.take(waiting)
    assert re.fullmatch(says, LiveView(run).value()["wait"])
