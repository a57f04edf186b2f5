"""Answers a day at the owner's cost."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest
from pydantic import SecretStr

from backend.catalogue import catalogue
from backend.daily_limit import FILE_NAME, DailyLimit
from backend.engines import DAILY_ANSWERS_PUBLIC, Access, Engines
from backend.errors import QuotaExhausted
from backend.settings import Server, load_settings
from backend.types import ChatRequest, Message

MONDAY, TUESDAY = date(2026, 11, 30), date(2026, 12, 1)
OWN = Server(name="own", base_url="https://gpu.example/v1")


class Days:
    def __init__(self) -> None:
        self.now = MONDAY

    def __call__(self) -> date:
        return self.now


async def test_so_many_and_not_one_more_until_the_next_day(tmp_path):
    days = Days()
    limit = DailyLimit(3, tmp_path, today=days)
    for _ in range(3):
        await limit.take()
    with pytest.raises(QuotaExhausted) as refused:
        await limit.take()
    assert "today" in refused.value.message and "key of your own" in refused.value.hint
    days.now = TUESDAY
    for _ in range(3):
        await limit.take()
    with pytest.raises(QuotaExhausted):
        await limit.take()


async def test_many_at_once_are_counted_each(tmp_path):
    limit = DailyLimit(5, tmp_path, today=Days())
    taken = await asyncio.gather(*(limit.take() for _ in range(8)), return_exceptions=True)
    assert [type(each).__name__ for each in taken].count("QuotaExhausted") == 3


async def test_one_address_has_a_share_of_it_and_not_one_more(tmp_path):
    days = Days()
    limit = DailyLimit(200, tmp_path, today=days)
    for _ in range(20):
        await limit.take("203.0.113.5")
    with pytest.raises(QuotaExhausted, match="share"):
        await limit.take("203.0.113.5")
    await limit.take("203.0.113.6"), await limit.take()
    days.now = TUESDAY
    await limit.take("203.0.113.5")


async def test_of_a_small_limit_one_address_may_have_ten(tmp_path):
    limit = DailyLimit(15, tmp_path, today=Days())
    for _ in range(10):
        await limit.take("203.0.113.5")
    with pytest.raises(QuotaExhausted, match="share"):
        await limit.take("203.0.113.5")


async def test_the_count_outlives_a_restart(tmp_path):
    days = Days()
    await DailyLimit(2, tmp_path, today=days).take()
    again = DailyLimit(2, tmp_path, today=days)
    await again.take()
    with pytest.raises(QuotaExhausted):
        await again.take()
    days.now = TUESDAY
    await DailyLimit(1, tmp_path, today=days).take()


@pytest.mark.parametrize("kept", ["", "{}", "[]", '{"day":"x","answers":1}', '{"day":"2026-11-30"}', '{"day":"2026-11-30","answers":null}'])
async def test_a_file_that_is_none_begins_the_day(tmp_path, kept):
    (tmp_path / FILE_NAME).write_text(kept)
    limit = DailyLimit(1, tmp_path, today=Days())
    await limit.take()
    with pytest.raises(QuotaExhausted):
        await limit.take()


async def test_where_nothing_can_be_written_it_still_counts(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    limit = DailyLimit(1, tmp_path / "file", today=Days())
    await limit.take()
    with pytest.raises(QuotaExhausted):
        await limit.take()
    assert "not kept" in caplog.text


async def test_no_limit_counts_nothing(tmp_path):
    for _ in range(5):
        await DailyLimit(None, tmp_path).take()
    assert not list(tmp_path.iterdir())


# ---- whose cost
def engines(**settings) -> Engines:
    return Engines(load_settings(dashscope_api_key="sk-owner", servers=(OWN,), **settings), catalogue())


@pytest.mark.parametrize(
    ("name", "access", "owners"),
    [
        ("dashscope:qwen-plus", Access(), True),
        ("dashscope:qwen-plus", Access(dashscope_key=SecretStr("sk-visitor")), False),
        ("server:own/m", Access(), True),
        ("server:theirs/m", Access(servers=(Server(name="theirs", base_url="https://x.example/v1"),)), False),
        ("server:own/m", Access(servers=(Server(name="own", base_url="https://x.example/v1"),)), False),  # another one of that name
        ("local:demo", Access(), False),
        ("replay:python-code", Access(), False),
    ],
)
def test_whose_cost_an_answer_is(name, access, owners):
    assert engines(public=True)._is_at_owners_cost(name, access) is owners


async def test_a_public_host_has_a_limit_by_itself_and_a_machine_of_ones_own_none(tmp_path):
    assert engines(public=True).daily._limit == DAILY_ANSWERS_PUBLIC and engines().daily._limit is None
    assert engines(public=True, daily_answers=7).daily._limit == 7 and engines(daily_answers=0).daily._limit == 0


async def test_nothing_is_sent_beyond_it(scripted):
    built = engines(public=True, daily_answers=0)
    pipeline = await built.pipeline("dashscope:qwen-plus", Access())
    with pytest.raises(QuotaExhausted, match="today"):
        async for _ in pipeline.stream(ChatRequest("qwen-plus", (Message("user", "hi"),))):
            pass
