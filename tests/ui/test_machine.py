"""The part of the panel about this machine: a plan before a load, using a model by its name, what is in memory, unloading."""

from __future__ import annotations

import pytest

from backend.local import tiny
from tests.ui.tab import House
from ui.machine import Machine
from ui.text import WORDS as W

TINY = f"local:{tiny.NAME}"


@pytest.fixture
async def house(tmp_path):
    house = House(data_dir=tmp_path)
    yield house
    await house.backend.aclose()


@pytest.fixture
def machine(house):
    return Machine(house.backend, house.page, house.chat)


async def test_a_plan_says_what_a_model_takes_and_loads_nothing(machine):
    plan = await machine.plan(f" {TINY} ")
    assert "MB of weights in 32 bits" in plan and "are free on this processor" in plan
    assert machine.look() == f"<p class='hint'>{W.machine_none}</p>"


@pytest.mark.parametrize(
    ("name", "words"), [("", W.machine_empty), (None, W.machine_empty), ("/no/such", "no folder"), ("<b>x</b>/\n", "&lt;b&gt;")]
)
async def test_what_cannot_be_planned_or_used_is_told(machine, house, name, words):
    assert words in await machine.plan(name)
    tab = house.tab()
    tab.take_one(await machine.use(name, tab.session))
    assert words in tab.shown[house.page.machine_note] and house.page.model not in tab.shown


async def test_a_model_is_used_by_its_name_and_seen_in_memory_until_it_is_unloaded(machine, house):
    tab = house.tab(model="local:demo")
    tab.take_one(await machine.use(f"{tiny.NAME}@4bit", tab.session))
    chosen = tab.shown[house.page.model]
    assert chosen["value"] == f"{TINY}@4bit" and any(name == f"{TINY}@4bit" for _, name in chosen["choices"])
    tab.model = chosen["value"]
    tab.set("draft_tokens", 2)
    await tab.send("What is 12 + 30?")
    assert tab.last["role"] == "assistant" and "12 + 30 = 42" in tab.last["html"]
    seen = machine.look()
    assert f"{TINY}@4bit" in seen and "in 4 bits" in seen and "Steps: eager" in seen and "Guesses" in seen
    assert await machine.unload() == f"<p class='hint'>{W.machine_freed}</p>"
    assert W.machine_none in machine.look() and W.machine_none in await machine.unload()


async def test_unloading_while_a_model_loads_says_how_to_give_it_up(machine, house, monkeypatch):
    engine = house.backend.engines.machine()
    monkeypatch.setattr(type(engine), "busy", lambda self: True)
    assert W.machine_loading in await machine.unload()


async def test_a_public_host_shows_nothing_of_its_memory():
    house = House(public=True)
    assert house.backend.engines.machine() is None
    assert W.machine_none in Machine(house.backend, house.page, house.chat).look()
    await house.backend.aclose()
