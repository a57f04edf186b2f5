"""Side by side in a real browser: panes that stream at once, one stopped, blind votes, diff, table, a refresh, a set, a sweep, a phone."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Page, expect

PROMPT = "#compare-prompt textarea"


@pytest.fixture
def compare(page: Page) -> Page:
    page.locator("#tab-compare").click()
    expect(page.locator("#pane-2")).to_be_visible()
    return page


def send(page: Page, text: str) -> None:
    page.locator(PROMPT).fill(text)
    page.locator(PROMPT).press("Enter")


def over(page: Page) -> None:
    expect(page.locator("#compare")).to_have_attribute("data-state", "done")
    expect(page.locator("#compare")).not_to_have_attribute("data-running", "on")


def pane(page: Page, number: int, state: str) -> None:
    expect(page.locator(f"#pane-{number}")).to_have_attribute("data-state", re.compile(f"^({state})$"))


def choose(page: Page, number: int, *, model: str = "", system: str = "") -> None:
    """Opens a pane's settings and changes them, as a person does."""
    page.locator(f"#pane-{number} header > button[data-compare=settings]").last.click()
    expect(page.locator("#drawer")).to_be_visible()
    expect(page.locator("#drawer-title")).to_contain_text(f"Pane {number}")
    if model:
        box = page.locator("#compare-model input")
        box.fill(model)
        box.press("Enter")
        expect(page.locator(f"#pane-{number} .model")).to_contain_text(model.rpartition(":")[2], ignore_case=True)
    if system:
        page.locator("#c-p-system textarea").fill(system)
        expect(page.locator(f"#pane-{number} .setting")).to_contain_text("system")
    page.locator("#drawer [data-compare=close]").click()
    expect(page.locator("#drawer")).to_be_hidden()


def upload(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator("#set-upload").click()
    chooser.value.set_files(str(file))


def three_panes(page: Page) -> None:
    """Thinking, Instruct, and one that fails."""
    page.locator("#compare-add").click()
    expect(page.locator("#pane-3")).to_be_visible()
    choose(page, 3, model="dashscope:no-such-model")


def runs(emulator: str) -> list[dict]:
    return httpx2.get(f"{emulator}/mock/state").json()["runs"]


def test_three_panes_stream_at_once_and_one_that_fails_disturbs_no_other(compare, emulator):
    three_panes(compare)
    send(compare, "Xin chào [[think:120]] [[words:300]]")
    expect(compare.locator("#pane-1 .thinking")).to_contain_text("emulator")
    expect(compare.locator("#pane-2 .answer")).to_contain_text("emulator")
    pane(compare, 1, "thinking")
    pane(compare, 2, "answering")
    expect(compare.locator("#pane-3 .err")).to_contain_text("does not know this model")
    expect(compare.locator(PROMPT)).to_have_value("")
    for number in (1, 2, 3):
        expect(compare.locator(f"#pane-{number} .you")).to_have_text("Xin chào [[think:120]] [[words:300]]")
    compare.locator("#pane-2 .stop").click()
    pane(compare, 2, "stopped")
    pane(compare, 1, "thinking|answering")
    send(compare, "too early")
    expect(compare.locator("#voted")).to_contain_text("still answering")
    expect(compare.locator(PROMPT)).to_have_value("too early")
    over(compare)
    assert [run["state"] for run in runs(emulator)[-3:]].count("disconnected") == 1
    expect(compare.locator("#pane-1 .run-card .tokens-answer")).to_have_text("300")
    expect(compare.locator("#pane-2 .run-card .finish-reason")).to_have_attribute("data-reason", "stopped")
    expect(compare.locator("#pane-2 .answer")).to_contain_text("emulator")
    expect(compare.locator("#pane-3 .run-card .ttft")).to_have_text("-")
    expect(compare.locator("#pane-1 details.trace")).to_be_visible()
    expect(compare.locator("#pane-1 .pane-live")).to_be_hidden()


def test_a_blind_vote_hides_every_name_until_it_is_given(compare):
    three_panes(compare)
    compare.locator("#blind").click()
    expect(compare.locator("#blind")).to_have_attribute("aria-pressed", "true")
    send(compare, "blind [[think:20]] [[words:40]]")
    over(compare)
    shown = compare.locator("#panes").inner_text() + compare.locator("#panes").inner_html()
    assert not re.search(r"qwen|instruct|no-such|dashscope", re.sub(r"<nav.*?</nav>", "", shown), re.IGNORECASE)
    expect(compare.locator("#pane-1 .model")).to_have_text("Model A")
    expect(compare.locator("#pane-1 .run-card")).to_have_count(0)
    compare.locator("[data-view=table]").click()
    expect(compare.locator("#compare-view")).to_contain_text("after the vote")
    compare.locator("[data-view=answers]").click()
    compare.locator("#vote-tie").click()
    expect(compare.locator("#voted")).to_contain_text("a tie")
    names = [compare.locator(f"#pane-{n} .model").inner_text() for n in (1, 2, 3)]
    assert sorted(names) == ["Qwen3-Next 80B-A3B Instruct", "Qwen3-Next 80B-A3B Thinking", "no-such-model"]
    expect(compare.locator("#pane-1 .run-card")).to_have_count(1)


def test_the_diff_marks_words_and_the_table_the_best_of_each_row(compare):
    choose(compare, 1, system="[[words:60]]")
    choose(compare, 2, system="[[words:20]]")
    send(compare, "compare [[think:30]]")
    over(compare)
    compare.locator("[data-view=diff]").click()
    expect(compare.locator("#compare-view .diff-side")).to_have_count(2)
    expect(compare.locator("#compare-view del").first).to_be_visible()
    expect(compare.locator("#compare-view .diff-note")).to_contain_text("%")
    compare.locator("#compare-view [data-look=what]").select_option("thinking")
    expect(compare.locator("#compare-view")).to_contain_text("One of the two has no text yet")
    compare.locator("[data-view=table]").click()
    row = compare.locator("#compare-view tr[data-figure=total_s] td")
    expect(row.nth(1)).to_have_class(re.compile("best"))
    expect(row.nth(0)).not_to_have_class(re.compile("best"))
    expect(compare.locator("#compare-view tr[data-figure=total_s] .spread")).to_contain_text("×")
    expect(compare.locator("#compare-view tr[data-figure=answer_tokens] td").first).to_have_text("60")


def test_a_vote_shows_in_the_results_with_its_tag_and_can_be_saved(compare):
    send(compare, "vote [[think:10]] [[words:15]]")
    over(compare)
    compare.locator("#vote-tag").fill("browser-test")
    compare.locator("#vote-2").click()
    expect(compare.locator("#vote-2")).to_have_attribute("aria-pressed", "true")
    compare.locator("[data-view=results]").click()
    compare.locator("#compare-view [data-look=tag]").select_option("browser-test")
    first = compare.locator("#compare-view .standings tbody tr").first
    expect(first).to_contain_text("qwen3-next-80b-a3b-instruct")
    expect(first.locator(".won")).to_have_text("1")
    with compare.expect_download() as saved:
        compare.locator("#compare-view [data-form=csv]").click()
    assert "browser-test" in Path(saved.value.path()).read_text(encoding="utf-8-sig")
    compare.locator("[data-view=answers]").click()
    compare.locator("#vote-2").click()
    expect(compare.locator("#vote-2")).to_have_attribute("aria-pressed", "false")


def test_a_refresh_in_the_middle_finds_every_pane_where_it_was(compare):
    send(compare, "refresh [[think:300]] [[words:400]]")
    expect(compare.locator("#pane-1 .thinking")).to_contain_text("emulator")
    compare.reload()
    expect(compare.locator("#pane-1 .thinking")).to_contain_text("emulator")
    pane(compare, 1, "thinking|answering")
    expect(compare.locator("#pane-2 .you")).to_contain_text("refresh")
    over(compare)
    expect(compare.locator("#pane-1 .run-card .tokens-thinking")).to_have_text("300")
    expect(compare.locator("#pane-2 .run-card .tokens-answer")).to_have_text("400")
    compare.reload()
    expect(compare.locator("#pane-2 .answer")).to_contain_text("emulator")


def test_every_pane_keeps_its_own_conversation_and_a_turn_is_run_again_in_one_alone(compare, emulator):
    send(compare, "first [[think:5]] [[words:10]]")
    over(compare)
    send(compare, "second [[think:5]] [[words:12]]")
    expect(compare.locator("#pane-2 .you")).to_have_count(2)
    answers = compare.locator("#pane-2 .pane-turns .assistant")  # an answer that has just ended stands in the live part until it is stored
    expect(answers).to_have_count(2)
    over(compare)
    before = len(runs(emulator))
    answers.last.locator("[data-op=regenerate]").click()
    expect(answers.nth(1).locator(".sib")).to_contain_text("2/2")
    over(compare)
    answers.first.locator("[data-op=regenerate]").click()
    expect(answers.first.locator(".sib")).to_contain_text("2/2")
    expect(answers).to_have_count(2)
    over(compare)
    assert len(runs(emulator)) == before + 3, "the last turn; then the first one and on its new answer the second"
    expect(compare.locator("#pane-1 .sib")).to_have_count(0)
    for number in (1, 2):
        expect(compare.locator(f"#pane-{number} .you")).to_have_text(["first [[think:5]] [[words:10]]", "second [[think:5]] [[words:12]]"])
    compare.locator("#pane-2 [data-step='-1']").click()
    expect(compare.locator("#pane-2 .sib")).to_have_text(["‹1/2›", "‹2/2›"])


def test_two_panes_run_again_one_soon_after_the_other_are_both_written_to_the_end(compare):
    send(compare, "go [[think:5]] [[words:900]]")
    over(compare)
    for number in (1, 2):
        compare.locator(f"#pane-{number} [data-op=regenerate]").last.click()
        expect(compare.locator(f"#pane-{number} .answer-live")).to_contain_text("emulator")
    pane(compare, 1, "thinking|answering")
    over(compare)
    for number in (1, 2):
        pane(compare, number, "done")
        expect(compare.locator(f"#pane-{number} .run-card .tokens-answer")).to_have_text("900")
        expect(compare.locator(f"#pane-{number} .sib")).to_contain_text("2/2")


def test_a_pane_moved_twice_while_it_is_written_is_written_in_its_place(compare):
    compare.locator("#compare-add").click()
    expect(compare.locator("#pane-3")).to_be_visible()
    choose(compare, 1, system="[[think:5]][[words:1500]]")
    for number in (2, 3):
        choose(compare, number, system="[[think:5]][[words:5]]")
    send(compare, "hello")
    pane(compare, 3, "done")
    for number in (1, 2):
        expect(compare.locator(f"#pane-{number} .answer-live")).to_contain_text("emulator")
        compare.locator(f"#pane-{number} .pane-more summary").click()
        compare.locator(f"#pane-{number} [data-compare=right]").click()
        expect(compare.locator(f"#pane-{number + 1} .answer-live")).to_contain_text("emulator")
        expect(compare.locator(f"#pane-{number} .pane-live")).to_be_hidden()
    compare.locator("#pane-3 .stop").click()
    over(compare)
    pane(compare, 3, "stopped")


def test_panes_move_grow_and_go(compare):
    compare.locator("#compare-add").click()
    expect(compare.locator("#pane-3")).to_be_visible()
    choose(compare, 3, model="dashscope:qwen-plus")
    compare.locator("#pane-3 .pane-more summary").click()
    compare.locator("#pane-3 [data-compare=left]").click()
    expect(compare.locator("#pane-2 .model")).to_contain_text("plus", ignore_case=True)
    compare.locator("#pane-2 [data-compare=grow]").click()
    expect(compare.locator("#pane-1")).to_be_hidden()
    compare.keyboard.press("Escape")
    expect(compare.locator("#pane-1")).to_be_visible()
    compare.locator("#pane-1 .pane-more summary").click()
    compare.locator("#pane-1 [data-compare=remove]").click()
    expect(compare.locator("#pane-3")).to_be_hidden()
    expect(compare.locator("#pane-1 .model")).to_contain_text("plus", ignore_case=True)
    compare.reload()
    expect(compare.locator("#pane-1 .model")).to_contain_text("plus", ignore_case=True)


def test_linked_parameters_are_set_in_every_pane(compare):
    compare.locator("#pane-1 header > button[data-compare=settings]").last.click()
    compare.locator("#compare-link input").check()
    compare.locator("#c-p-temperature input[type=number]").fill("0.35")
    compare.locator("#c-p-temperature input[type=number]").press("Tab")
    expect(compare.locator("#pane-1 .setting")).to_contain_text("T 0.35")
    expect(compare.locator("#pane-2 .setting")).to_contain_text("T 0.35")


def test_html_in_an_answer_stays_text_in_panes_and_diff(compare):
    send(compare, "[[scenario:html]]")
    over(compare)
    compare.locator("[data-view=diff]").click()
    expect(compare.locator("#compare-view .diff-side")).to_have_count(2)
    assert (
        compare.evaluate("() => document.querySelectorAll('#compare script, #compare iframe, #compare img, #compare [onerror]').length")
        == 0
    )


def test_a_set_runs_in_the_background_and_its_pairs_are_judged_with_the_keyboard(compare, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("prompt,tag\nMột [[think:3]][[words:5]],vi\n,vi\n二 [[think:3]][[words:6]],zh\n", encoding="utf-8")
    compare.locator("[data-view=sets]").click()
    upload(compare, file)
    expect(compare.locator("#set-note")).to_contain_text("2 prompts through 2 panes, 4 answers")
    expect(compare.locator("#set-note")).to_contain_text("row 3")
    compare.locator("#set-start").click()
    state = compare.locator("#sets .batch").first.locator(".batch-state")
    expect(state).to_have_attribute("data-state", "done")
    expect(state).to_contain_text("4 of 4")
    compare.locator("#sets .batch").first.locator("[data-batch-op=judge]").click()
    expect(compare.locator(".judge-card .you")).to_contain_text("Một")
    assert "qwen" not in compare.locator("#judge").inner_text().lower()
    compare.keyboard.press("ArrowLeft")
    expect(compare.locator(".judge-card .you")).to_contain_text("二")
    compare.keyboard.press("Backspace")
    expect(compare.locator(".judge-count")).to_contain_text("0 of 2")
    expect(compare.locator(".judge-card .you")).to_contain_text("Một")
    compare.keyboard.press("ArrowRight")
    expect(compare.locator(".judge-card .you")).to_contain_text("二")
    compare.keyboard.press("ArrowDown")
    expect(compare.locator(".judge-over")).to_be_visible()


def test_a_refresh_in_the_middle_of_a_set_loses_and_doubles_nothing(compare, emulator, tmp_path):
    file = tmp_path / "long.txt"
    file.write_text("\n".join(f"mitte {n} [[think:20]][[words:40]]" for n in range(6)), encoding="utf-8")
    compare.locator("[data-view=sets]").click()
    upload(compare, file)
    expect(compare.locator("#set-note")).to_contain_text("6 prompts")
    compare.locator("#set-start").click()
    batch = compare.locator("#sets .batch").first.locator(".batch-state")
    expect(batch).to_have_attribute("data-state", "running")
    compare.reload()
    compare.locator("[data-view=sets]").click()
    expect(batch).to_have_attribute("data-state", "done")
    expect(batch).to_contain_text("12 of 12")
    asked = [r["body"]["messages"][-1]["content"] for r in httpx2.get(f"{emulator}/mock/state").json()["requests"] if r.get("body")]
    assert sorted(text for text in asked if text.startswith("mitte")) == sorted(
        2 * [f"mitte {n} [[think:20]][[words:40]]" for n in range(6)]
    )


def test_a_sweep_says_its_runs_and_cost_before_it_starts_and_then_shows_a_card_a_point(compare):
    compare.locator("[data-view=sweep]").click()
    compare.locator("#sweep-prompt textarea").fill("sweep [[think:3]][[words:8]]")
    compare.locator("#sweep-first-values textarea, #sweep-first-values input").first.fill("0.2, 1.1")
    expect(compare.locator("#sweep-plan")).to_contain_text("6 runs: 2 points × 3 seeds")
    expect(compare.locator("#sweep-plan")).to_contain_text("$")
    compare.locator("#sweep-first-values textarea, #sweep-first-values input").first.fill("0.2, 9")
    expect(compare.locator("#sweep-plan .err")).to_contain_text("takes 0 to")
    compare.locator("#sweep-first-values textarea, #sweep-first-values input").first.fill("0.2, 1.1")
    expect(compare.locator("#sweep-plan")).to_contain_text("6 runs")
    compare.locator("#sweep-start").click()
    expect(compare.locator("#sweep-cards .point")).to_have_count(2)
    expect(compare.locator("#sweep-cards .small-card")).to_have_count(6)
    expect(compare.locator("#sweep-cards .point").first.locator(".agreement")).to_contain_text("same answer 100 %")
    expect(compare.locator("#sweep-length")).to_be_visible()


def test_on_a_phone_panes_are_swiped_and_the_tabs_tell_their_states(compare):
    compare.set_viewport_size({"width": 390, "height": 844})
    send(compare, "phone [[think:60]] [[words:60]]")
    expect(compare.locator("[data-tab-of='1']")).to_have_attribute("data-state", re.compile("thinking|answering"))
    over(compare)
    expect(compare.locator("[data-tab-of='2']")).to_have_attribute("data-state", "done")
    expect(compare.locator("[data-tab-of='2']")).to_have_text("2 · Instruct")
    expect(compare.locator("#pane-2")).not_to_be_in_viewport(ratio=0.5)
    compare.locator("[data-tab-of='2']").click()
    expect(compare.locator("#pane-2")).to_be_in_viewport(ratio=0.5)
    assert compare.evaluate("() => document.documentElement.scrollWidth") <= 390
    compare.locator("#vote-1").click()
    expect(compare.locator("#vote-1")).to_have_attribute("aria-pressed", "true")


def test_a_comparison_is_saved_as_a_page_and_as_a_run_file_that_plays_each_time_it_is_opened(compare, tmp_path):
    for text in ("Một [[think:8]] [[words:30]]", "二 [[think:8]] [[words:20]]"):
        send(compare, text)
        expect(compare.locator("#compare")).to_have_attribute("data-running", "on")
        over(compare)
    compare.locator("#vote-2").click()
    expect(compare.locator("#voted")).to_contain_text("2")
    files = {}
    for button in ("share-page", "share-run"):
        if not compare.locator("#compare-share").is_visible():
            compare.locator("[data-compare=share]").click()
        with compare.expect_download() as saved:
            compare.locator(f"#{button}").click()
        files[button] = tmp_path / saved.value.suggested_filename
        saved.value.save_as(files[button])
    page = files["share-page"].read_text(encoding="utf-8")
    assert page.count("<article") == 4 and "<script" not in page and "pane 2 is the best" in page
    before = compare.url
    for _ in range(2):
        if not compare.locator("#compare-share").is_visible():
            compare.locator("[data-compare=share]").click()
        with compare.expect_file_chooser() as chooser:
            compare.locator("#share-open").click()
        chooser.value.set_files(str(files["share-run"]))
        expect(compare).not_to_have_url(before)
        expect(compare.locator("#bench-note")).to_contain_text("no model runs")
        expect(compare.locator("#pane-2 .you")).to_have_count(2)
        over(compare)
        pane(compare, 1, "done")
        expect(compare.locator("#pane-1 .run-card .tokens-answer")).to_have_text("20")
        before = compare.url


def test_a_judge_model_is_off_until_it_is_started_and_is_told_apart(compare):
    send(compare, "judge [[think:2]] [[words:6]]")
    over(compare)
    compare.locator("[data-view=results]").click()
    expect(compare.locator("#judge-rubric textarea")).to_have_value(re.compile("Correct before complete"))
    compare.locator("#judge-start").click()
    expect(compare.locator("#judge-note .err")).to_contain_text("Choose a model")
    box = compare.locator("#judge-model input")
    box.fill("dashscope:qwen-plus")
    box.press("Enter")
    compare.locator("#judge-rubric textarea").fill('[[words:0]] Say {"verdict": "first"}')
    compare.locator("#judge-start").click()
    expect(compare.locator("#judge-note")).to_contain_text("by dashscope:qwen-plus")
    expect(compare.locator("#judge-note .err")).to_contain_text("no clear verdict")


def test_an_error_of_a_button_stays_to_be_read_and_disturbs_no_pane(compare):
    for count in (3, 4):
        compare.locator("#compare-add").click()
        expect(compare.locator(f"#pane-{count}")).to_be_visible()
    send(compare, "button [[think:30]] [[words:400]]")
    expect(compare.locator("#pane-2 .answer")).to_contain_text("emulator")
    compare.evaluate("() => { window.cleared = 0; new MutationObserver(() => { if (!document.querySelector('#pane-2 .tail').textContent) window.cleared++; })"
                     ".observe(document.querySelector('#pane-2 .tail'), { childList: true }); }")  # fmt: skip
    compare.locator("#compare-add").click()
    expect(compare.locator("#compare-live .err")).to_contain_text("4 panes already")
    shown = len(compare.locator("#pane-2 .answer").inner_text())
    compare.wait_for_function("(n) => document.querySelector('#pane-2 .answer').innerText.length > n + 200", arg=shown)
    expect(compare.locator("#compare-live .err")).to_contain_text("4 panes already")
    assert compare.evaluate("window.cleared") == 0
    compare.locator("#compare-live .err button").click()
    expect(compare.locator("#compare-live .err")).to_have_count(0)
    over(compare)


def test_text_that_grows_is_cut_between_signs_and_never_within_one(compare):
    shown = compare.evaluate(
        """() => { const box = document.createElement('div'), grown = new playground.Pieces(box, 3), all = 'ab😀😀c😀d😀😀😀é👩‍💻';
        for (let n = 0; n <= all.length; n++) grown.show(all.slice(0, n).isWellFormed() ? all.slice(0, n) : all.slice(0, n - 1));
        return { text: box.textContent, whole: [...box.children].every((s) => s.textContent.isWellFormed()), pieces: box.children.length }; }"""
    )
    assert shown["text"] == "ab😀😀c😀d😀😀😀é👩‍💻" and shown["whole"] and shown["pieces"] > 3
