"""The tools that come with the app: what they answer, and the sentence for what they cannot."""

from __future__ import annotations

import json
import re

import pytest

from backend.attachments import Attachment
from backend.tools.built_in import BUILT_IN
from backend.tools.definitions import check_tools, wrong_with
from backend.tools.file_search import PASSAGE_CHARS, passages
from backend.tools.running import ToolContext, ToolFailed

PRICES = Attachment("giá.md", "Mở đầu. " * 200 + "\n\nGiá vé tàu từ Hà Nội đến Huế là 500.000 đồng.\n\n" + "Phần sau. " * 200)
WEATHER = Attachment("天气.txt", "北京的天气很好，上海下雨。\n\n" + "其他内容。" * 400)


async def run(name, files=(), **arguments):
    found = BUILT_IN[name]
    assert wrong_with(arguments, found.tool.parameters) is None
    return await found.run(arguments, ToolContext(tuple(files)))


def test_their_definitions_can_be_offered():
    check_tools([found.tool for found in BUILT_IN.values()])
    assert all(name == found.tool.name and found.tool.description for name, found in BUILT_IN.items())


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 * (3 + 4) ** 2", "98"),
        ("0.1 + 0.2", "0.3"),
        ("2^10", "1024"),
        ("２×３ − １", "5"),
        ("math.sqrt(2) * sqrt(2)", "2"),
        ("7 // 2 + 7 % 2", "4"),
        ("factorial(20) / comb(5, 2)", "2.43290200817664e+17"),
        ("max(1, 2, 3) - ln(e)", "2"),
        ("2 ** 3000 % 1000", "376"),
    ],
)
async def test_the_calculator_works_out(expression, value):
    assert await run("calculator", expression=expression) == value


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("9 ** 9 ** 9", "more than 1,000 digits"),
        ("10 ** 999 * 10 ** 999", "more than 1,000 digits"),
        ("factorial(10 ** 6)", "numbers up to 10,000"),
        ("1e308 * 10", "too large"),
        ("1 / 0", "divides by zero"),
        ("(-8) ** 0.5", "negative"),
        ("x + 1", "'x' is not defined"),
        ("__import__('os')", "Function '__import__' not defined"),
        ("(1).__class__", "not available"),
        ("'a' * 3", "no number"),
        ("True + 1", "no number"),
        ("1,234 + 1", "thousands separators"),
        ("3 == 3", "not available"),
        ("f'{1:9999999999}'", "not available"),
        ("7 & 3", "operator"),
        ("two plus two", "Write an expression as"),
        ("round(1.5, 10 ** 9)", "at most 30 digits"),
        ("", "empty string"),
        ("-" * 301 + "1", "too long"),
        ("(" * 250, "nested"),
    ],
)
async def test_the_calculator_says_why_not(expression, why):
    with pytest.raises(ToolFailed, match=re.escape(why)):
        await run("calculator", expression=expression)


async def test_the_time_is_told_in_any_zone_and_similar_names_are_offered():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 \(\w+day, time zone UTC\)", await run("current_time"))
    assert "+07:00" in await run("current_time", time_zone="asia/ho chi minh")
    with pytest.raises(ToolFailed, match=r"no IANA time zone 'Saigon City'\. Similar names: .*Asia/Saigon"):
        await run("current_time", time_zone="Saigon City")


@pytest.mark.parametrize(
    ("value", "from_unit", "to_unit", "ending"),
    [
        (100, "km/h", "mph", "62.13711922 mile_per_hour"),
        (20, "°C", "F", "68 degree_Fahrenheit"),
        (20, "C", "K", "293.15 kelvin"),
        (3, "m²", "ft^2", "32.29173125 foot ** 2"),
        (1, "MiB", "kB", "1048.576 kilobyte"),
    ],
)
async def test_units_are_converted(value, from_unit, to_unit, ending):
    assert (await run("convert_units", value=value, from_unit=from_unit, to_unit=to_unit)).endswith(f" = {ending}")


@pytest.mark.parametrize(
    ("from_unit", "why"),
    [
        ("kg", "different things"),
        ("9**9**9", "is no unit"),
        ("blorp", "not known"),
        ("", "is no unit"),
        ("1e9", "is no unit"),
        ("kilograms_per_cubic_metre_and_a_good_deal_more_of_it,x", "is no unit"),
    ],
)
async def test_units_that_cannot_be_converted(from_unit, why):
    with pytest.raises(ToolFailed, match=why):
        await run("convert_units", value=1, from_unit=from_unit, to_unit="m")


@pytest.mark.parametrize(
    ("query", "beginning", "inside"),
    [("giá vé tàu", "[giá.md]", "500.000 đồng"), ("gia ve tau HUẾ", "[giá.md]", "500.000 đồng"), ("上海 下雨", "[天气.txt]", "上海下雨")],
)
async def test_files_are_searched_in_every_script(query, beginning, inside):
    first = (await run("search_files", [PRICES, WEATHER], query=query)).split("\n\n[")[0]
    assert first.startswith(beginning)
    assert inside in first


async def test_a_search_that_finds_nothing_says_where_it_looked():
    assert await run("search_files", [PRICES], query="zebra") == "Nothing in giá.md fits 'zebra'. Try other words."
    assert "fits" in await run("search_files", [PRICES], query="\"' OR NEAR(")
    with pytest.raises(ToolFailed, match="No file is attached"):
        await run("search_files", query="zebra")


def test_passages_hold_the_whole_text_and_none_is_long():
    text = WEATHER.text + PRICES.text + "x" * 3000
    found = list(passages(text))
    assert max(map(len, found)) <= PASSAGE_CHARS
    assert "".join("".join(found).split()) == "".join(text.split())


async def test_the_weather_is_a_sample_that_says_so():
    first = await run("weather_sample", city="Huế")
    assert first == await run("weather_sample", city=" Huế ")
    assert "not the real weather" in json.loads(first)["note"]
    assert "made up" in BUILT_IN["weather_sample"].tool.description
