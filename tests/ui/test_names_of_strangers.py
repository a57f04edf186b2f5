"""Names of strangers on the page: cleaned, cut, and sent back as they are."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backend import Node
from backend.providers import model_list
from tests.backend.providers.test_hostile_servers import JSON, serving
from ui.layout import picker
from ui.render import error_card
from ui.runcard import run_card
from ui.text import WORDS as W

NAME = "a\u202egpj\x07" + "x" * 500


async def test_a_servers_models_are_shown_cleaned_and_a_list_that_was_cut_is_said(houses, monkeypatch):
    monkeypatch.setattr(model_list, "MAX_MODELS", 2)
    house = houses()
    for count, cut in ((2, False), (3, True)):
        tab = house.tab()
        async with serving(JSON, json.dumps({"data": [{"id": NAME + str(n)} for n in range(count)]}).encode()) as (address, _):
            update = await house.settings.add_server(address, "", tab.session)
        assert (W.connect_cut in update[house.page.connect_note]) is cut
        labels = {name: label for label, name in update[house.page.model]["choices"]}
        (server,) = tab.session.access.servers
        label = labels[f"server:{server.name}/{NAME}0"]  # the value is the server's own
        assert len(label) <= 200 and not set("\u202e\x07") & set(label)


def test_a_model_that_is_in_no_list_is_shown_cleaned():
    ((label, value), *_) = picker([], NAME)
    assert value == NAME and len(label) <= 120 and "\u202e" not in label


def test_figures_and_errors_show_names_cleaned():
    node = Node("n", "c", None, "assistant", "", datetime.now(UTC), model=f"server:s/{NAME}", finish_reason=NAME[:32])
    for html in (
        run_card(node, None, elem_id=None),
        run_card(replace(node, model=f"local:/home/canary/{NAME}"), None, elem_id=None),
        error_card(NAME * 10, NAME * 10, (), request_id=NAME),
    ):
        assert not set("\u202e\x07") & set(html) and "canary" not in html and len(html) < 4_000


@pytest.mark.parametrize("sentence", ["The key is wrong.", "a" * 1_000])
def test_a_sentence_of_a_usual_length_stays_whole(sentence):
    assert sentence in error_card(sentence, sentence, ())
