"""Votes on a real SQLite file: one for each judge and subject, kept whole, seen by their owner only; and as files that open elsewhere."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from itertools import permutations

import pytest

from backend.compare.votes import BAD, PERSON, TIE, Contestant, Vote, VoteStore, subject_of, to_csv, to_json_lines
from backend.errors import BadInput
from backend.history import History

LEFT = Contestant("dashscope:left", {"temperature": 0.6, "seed": 7, "system": "Trả lời ngắn."}, {"ttft_s": 0.25, "cost": 0.0125}, "a1")
RIGHT = Contestant("dashscope:right", {"temperature": 0.0, "stop": ["终"], "resend_thinking": False}, {"ttft_s": 0.5}, "a2")
THIRD = Contestant("local:third", answer_id="a3")
FOURTH = Contestant("local:fourth", answer_id="a4")
PAIR = (LEFT, RIGHT)


def vote(verdict: str = "1", contestants: tuple[Contestant, ...] = PAIR, **given) -> Vote:
    given = {"subject": subject_of(contestants), "prompt": "Which?", "created_at_s": 1_700_000_000.5, **given}
    return Vote(verdict=verdict, contestants=contestants, **given)


@pytest.fixture
async def votes(tmp_path) -> AsyncIterator[VoteStore]:
    history = await History.open(None, tmp_path)
    yield VoteStore(history.database)
    await history.aclose()


# ---------------------------------------------------------------- what a vote is about
@pytest.mark.parametrize("order", list(permutations((LEFT, RIGHT, THIRD))))
def test_a_subject_is_the_same_in_whatever_order_the_answers_stand(order):
    assert subject_of(order) == subject_of((LEFT, RIGHT, THIRD))


@pytest.mark.parametrize(
    "others",
    [
        (LEFT, replace(RIGHT, answer_id="a2-again")),
        (LEFT, THIRD),
        (LEFT, RIGHT, THIRD),
        (LEFT,),
        (replace(LEFT, answer_id="a1a2"), replace(RIGHT, answer_id="")),
        (replace(LEFT, answer_id="a"), replace(RIGHT, answer_id="1a2")),
    ],
    ids="made-anew another one-more one-less run-together cut-elsewhere".split(),
)
def test_other_answers_are_another_subject(others):
    assert subject_of(others) != subject_of(PAIR)


def test_a_subject_depends_on_the_answers_alone_and_fits_its_column():
    told = [replace(each, model="?", parameters={}, figures={"total_s": 9.0}) for each in PAIR]
    assert subject_of(told) == subject_of(PAIR)
    assert len(subject_of([replace(LEFT, answer_id="x" * 500), RIGHT])) <= 120


@pytest.mark.parametrize(
    ("verdict", "winner"), [("1", 0), ("2", 1), ("4", 3), (TIE, None), (BAD, None), ("-", None), ("5", None), ("", None)]
)
def test_the_winner_is_a_place_or_nobody(verdict, winner):
    assert vote(verdict, (LEFT, RIGHT, THIRD, FOURTH)).winner == winner


# ---------------------------------------------------------------- kept
async def test_a_vote_comes_back_whole(votes):
    given = vote("2", (LEFT, RIGHT, THIRD), prompt="Câu hỏi\n问题？", tag="vi", blind=True, reason="短而准", judge="dashscope:judge")
    await votes.put("me", given)
    assert await votes.find("me", given.subject, "dashscope:judge") == given
    assert await votes.all("me") == [given]


@pytest.mark.parametrize(
    "text", ["Đường đi đến Huế?", "to\u0302\u0309ng ke\u0302\u0301t", "北京的天气怎么样？", "𠮷野家 👩‍💻", "'; DROP TABLE votes--", ""]
)
async def test_text_of_any_script_comes_back_letter_by_letter(votes, text):
    pair = (replace(LEFT, model=text or "m", parameters={"system": text}), RIGHT)
    given = vote(TIE, pair, prompt=text, tag=text, reason=text)
    await votes.put("me", given)
    assert await votes.all("me") == [given]


async def test_text_that_databases_refuse_is_made_fit(votes):
    given = vote("1", (replace(LEFT, parameters={"system": "half \ud83d"}), RIGHT), prompt="nul \0 and half \ud83d", tag="\ud83d")
    await votes.put("me", given)
    (kept,) = await votes.all("me")
    assert (kept.prompt, kept.tag) == ("nul \ufffd and half \ufffd", "\ufffd")
    assert kept.contestants[0].parameters == {"system": "half \ufffd"}


async def test_what_nobody_voted_on_is_not_found(votes):
    assert await votes.find("me", subject_of(PAIR)) is None
    assert await votes.all("me") == [] and await votes.subjects("me") == set()
    await votes.put("me", vote())
    assert await votes.find("me", subject_of((LEFT, THIRD))) is None
    assert await votes.find("me", subject_of(PAIR), "a judge") is None


async def test_voting_again_replaces_and_comes_last(votes):
    first, other = vote("1", tag="old", reason="so", blind=True), vote(TIE, (LEFT, THIRD))
    changed = vote("2", tag="new", prompt="Which now?", created_at_s=1_600_000_000.0)  # clocks are set back
    for each in (first, other, changed):
        await votes.put("me", each)
    assert await votes.find("me", first.subject) == changed
    assert await votes.all("me") == [other, changed]


async def test_the_same_answers_in_another_order_are_voted_on_once(votes):
    await votes.put("me", vote("1", (LEFT, RIGHT)))
    await votes.put("me", vote("1", (RIGHT, LEFT)))
    (kept,) = await votes.all("me")
    assert kept.contestants[kept.winner] == RIGHT


async def test_an_answer_made_anew_has_no_vote_and_the_old_one_keeps_its_own(votes):
    await votes.put("me", vote("1"))
    again = (LEFT, replace(RIGHT, answer_id="a2-again"))
    assert await votes.find("me", subject_of(again)) is None
    await votes.put("me", vote("2", again))
    assert [each.verdict for each in await votes.all("me")] == ["1", "2"]


async def test_every_judge_has_a_vote_of_its_own(votes):
    given = [vote("1"), vote("2", judge="judge-a"), vote(BAD, judge="judge-b")]
    for each in given:
        await votes.put("me", each)
    assert await votes.all("me") == given
    assert [(await votes.find("me", subject_of(PAIR), judge)).verdict for judge in (PERSON, "judge-a", "judge-b")] == ["1", "2", BAD]
    assert await votes.subjects("me", "judge-a") == {subject_of(PAIR)} == await votes.subjects("me")
    await votes.put("me", vote("1", (LEFT, THIRD), judge="judge-a"))
    assert await votes.subjects("me", "judge-a") == {subject_of(PAIR), subject_of((LEFT, THIRD))}
    assert await votes.subjects("me") == {subject_of(PAIR)}


async def test_a_vote_is_taken_back_from_one_judge_on_one_subject_only(votes):
    stay = [vote("1", (LEFT, THIRD)), vote("2", judge="judge-a")]
    for each in (vote("1"), *stay):
        await votes.put("me", each)
    await votes.take_back("me", subject_of(PAIR))
    assert await votes.all("me") == stay
    await votes.take_back("me", subject_of(PAIR))
    await votes.take_back("me", "answers:never-voted-on")
    assert await votes.all("me") == stay


async def test_another_owner_sees_nothing_and_changes_nothing(votes):
    mine = vote("1")
    await votes.put("me", mine)
    assert await votes.find("you", mine.subject) is None
    assert await votes.all("you") == [] and await votes.subjects("you") == set()
    await votes.take_back("you", mine.subject)
    await votes.complete("you", mine.subject, [replace(LEFT, figures={"ttft_s": 9.0})])
    assert await votes.all("me") == [mine]
    yours = vote("2")
    await votes.put("you", yours)
    assert (await votes.all("me"), await votes.all("you")) == ([mine], [yours])


async def test_votes_are_there_after_the_app_was_closed(tmp_path):
    history = await History.open(None, tmp_path)
    await VoteStore(history.database).put("me", vote("2"))
    await history.aclose()
    history = await History.open(None, tmp_path)
    assert await VoteStore(history.database).all("me") == [vote("2")]
    await history.aclose()


# ---------------------------------------------------------------- figures that come later
async def test_figures_that_come_later_are_put_in_by_answer_and_the_verdict_stays(votes):
    early = (replace(LEFT, figures={}), replace(RIGHT, figures={"ttft_s": 0.5}))
    given, judged = vote("2", early), vote(TIE, early, judge="judge-a")
    for each in (given, judged):
        await votes.put("me", each)
    told = [replace(RIGHT, figures={"ttft_s": 0.5, "total_s": 3.0}), replace(LEFT, figures={"total_s": 4.0})]  # panes may have moved
    await votes.complete("me", given.subject, told)
    whole = (told[1], told[0])
    assert await votes.all("me") == [replace(given, contestants=whole), replace(judged, contestants=whole)]


async def test_an_answer_of_which_nothing_new_is_known_keeps_its_figures(votes):
    await votes.put("me", vote("1"))
    await votes.complete("me", subject_of(PAIR), [replace(RIGHT, figures={"cost": 1.0}), THIRD])
    (kept,) = await votes.all("me")
    assert kept.contestants == (LEFT, replace(RIGHT, figures={"cost": 1.0}))


async def test_completing_touches_no_other_subject(votes):
    stays = vote("1", (LEFT, THIRD))
    for each in (stays, vote("1")):
        await votes.put("me", each)
    await votes.complete("me", subject_of(PAIR), [replace(LEFT, figures={"ttft_s": 9.0})])
    assert (await votes.find("me", stays.subject)).contestants == (LEFT, THIRD)
    await votes.complete("me", "answers:never-voted-on", [LEFT])
    assert len(await votes.all("me")) == 2


# ---------------------------------------------------------------- what cannot be
@pytest.mark.parametrize(
    "verdict",
    ["0", "3", "-1", "+1", "1.0", " 1", "", "none", "Tie", "TIE", "both", "²", "01", "１", "٢", "9" * 5000],
    ids=lambda verdict: repr(verdict[:8]),
)
async def test_a_verdict_that_cannot_be_is_refused_and_the_one_before_stays(votes, verdict):
    await votes.put("me", vote(TIE))
    with pytest.raises(BadInput):
        await votes.put("me", vote(verdict))
    assert await votes.all("me") == [vote(TIE)]


@pytest.mark.parametrize("verdict", ["1", "2", "3", "4", TIE, BAD])
async def test_every_verdict_on_four_answers_is_taken(votes, verdict):
    given = vote(verdict, (LEFT, RIGHT, THIRD, FOURTH))
    await votes.put("me", given)
    assert await votes.all("me") == [given]


@pytest.mark.parametrize(("verdict", "contestants"), [("1", (LEFT,)), (TIE, (LEFT,)), (BAD, (LEFT,)), (TIE, ())])
async def test_one_answer_alone_is_no_comparison(votes, verdict, contestants):
    with pytest.raises(BadInput):
        await votes.put("me", vote(verdict, contestants))
    assert await votes.all("me") == []


# ---------------------------------------------------------------- JSON lines
def test_json_lines_give_every_vote_whole_one_a_line():
    given = [
        vote("1", prompt="line one\nline two\r\n“三”", tag="vi", blind=True),
        vote(TIE, (LEFT, RIGHT, THIRD), judge="judge-a", reason="r"),
    ]
    text = to_json_lines(given)
    assert text.endswith("\n") and text.count("\n") == 2
    read = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    assert read == [json.loads(json.dumps(asdict(each))) for each in given]
    assert read[0]["contestants"][0]["figures"] == LEFT.figures and read[1]["verdict"] == TIE


def test_json_lines_hold_letters_as_they_are():
    text = to_json_lines([vote(prompt="Tiếng Việt 中文")])
    assert "Tiếng Việt 中文" in text and "\\u" not in text


def test_no_votes_are_no_lines():
    assert to_json_lines([]) == ""


# ---------------------------------------------------------------- CSV
def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_gives_every_vote_with_models_parameters_and_figures_by_place():
    (row,) = rows(to_csv([vote("2", prompt="Which?", tag="maths", blind=True, reason="shorter")]))
    assert json.loads(row.pop("parameters_1")) == LEFT.parameters and json.loads(row.pop("parameters_2")) == RIGHT.parameters
    assert row == {
        "created_at": "2023-11-14T22:13:20+00:00", "judge": "person", "blind": "True", "tag": "maths", "prompt": "Which?", "verdict": "2",
        "reason": "shorter", "model_1": "dashscope:left", "cost_1": "0.0125", "ttft_s_1": "0.25",
        "model_2": "dashscope:right", "cost_2": "", "ttft_s_2": "0.5",
    }  # fmt: skip


def test_csv_has_a_column_for_every_figure_that_any_contestant_has():
    first = (replace(LEFT, figures={"ttft_s": 0.25}), replace(RIGHT, figures={}))
    second = (replace(LEFT, figures={"total_s": 2.0}), replace(RIGHT, figures={"seed": 0, "tokens_per_s": 30.5}))
    found = rows(to_csv([vote("1", first), vote("2", second)]))
    names = ("seed", "tokens_per_s", "total_s", "ttft_s")
    figures = [[[row[f"{name}_{place}"] for name in names] for place in (1, 2)] for row in found]
    assert figures == [[["", "", "", "0.25"], ["", "", "", ""]], [["", "", "2.0", ""], ["0", "30.5", "", ""]]]


def test_csv_gives_votes_on_two_and_on_four_answers_in_one_file():
    found = rows(to_csv([vote("2"), vote("4", (LEFT, RIGHT, THIRD, FOURTH), judge="judge-a")]))
    assert [row["judge"] for row in found] == ["person", "judge-a"]
    assert [found[1][f"model_{place}"] for place in (1, 2, 3, 4)] == [each.model for each in (LEFT, RIGHT, THIRD, FOURTH)]
    assert found[0]["model_2"] == RIGHT.model and not found[0]["model_3"]


def test_every_line_of_a_csv_has_as_many_cells_as_the_head():  # RFC 4180, section 2
    text = to_csv([vote("2"), vote("4", (LEFT, RIGHT, THIRD, FOURTH)), vote(TIE, (LEFT, RIGHT, THIRD))])
    head, *lines = csv.reader(io.StringIO(text, newline=""))
    assert [len(line) for line in lines] == [len(head)] * 3


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"], ids=repr)
@pytest.mark.parametrize("column", ["tag", "prompt", "reason", "judge", "model_1"])
def test_no_cell_of_a_csv_is_a_formula(column, start):
    text = f"{start}HYPERLINK(1)"
    given = vote("1", (replace(LEFT, model=text), RIGHT)) if column == "model_1" else replace(vote("1"), **{column: text})
    cell = rows(to_csv([given]))[0][column]
    assert cell == f"'{text}"


@pytest.mark.parametrize("text", ["a=b", "1+1", "x-y", "me@home", "", "'quoted'", "－1", "tab\there"])
def test_a_cell_that_is_no_formula_is_left_as_it_is(text):
    assert rows(to_csv([vote(prompt=text)]))[0]["prompt"] == text


def test_a_formula_in_the_parameters_stays_inside_their_json():
    (row,) = rows(to_csv([vote("1", (replace(LEFT, parameters={"system": "=1+1"}), RIGHT))]))
    assert row["parameters_1"].startswith("{") and json.loads(row["parameters_1"]) == {"system": "=1+1"}


@pytest.mark.parametrize(
    "text",
    [
        'She said "no", twice',
        "one\ntwo",
        "one\r\ntwo",
        "one\rtwo",
        '"',
        '""\n,',
        ",;\t",
        "Dòng một\nDòng hai",
        "第一行\n“第二行”，完",
        "line\u2028sep",
    ],
    ids=repr,
)
def test_quotes_commas_and_line_breaks_stay_in_their_cell(text):
    first, second = rows(to_csv([vote("1", prompt=text, reason=text), vote("2")]))
    assert (first["prompt"], first["reason"], first["verdict"]) == (text, text, "1")
    assert (second["prompt"], second["verdict"]) == ("Which?", "2")


def test_no_votes_are_a_csv_with_its_head_only():
    assert to_csv([]) == "created_at,judge,blind,tag,prompt,verdict,reason\r\n"
