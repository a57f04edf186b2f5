"""The tiny model's problems are right, its tokenizer reads anything, its lessons hold nothing of the exam, and its training runs."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from itertools import islice

import pytest
import torch
from safetensors.torch import load_file

from backend.local.tiny import exam, lessons, train
from backend.local.tiny.lessons import IGNORED, batches, lesson
from backend.local.tiny.problems import TASKS, make
from backend.local.tiny.tokenizer import build
from backend.local.tiny.wording import WORDING


@pytest.fixture(scope="module")
def tokenizer():
    return build(7)


def many(task, count=300, languages=tuple(WORDING)):
    chosen = random.Random(5)
    return [make(task, language, chosen) for _ in range(count) for language in languages]


@pytest.mark.parametrize(("task", "sign"), [("sum", "+"), ("difference", "-")])
def test_every_column_of_a_sum_and_a_difference_is_right(task, sign):
    for problem in many(task):
        lines = problem.steps.split("\n")
        for line in lines[1:-1]:
            calculation, result = re.fullmatch(r"[^:]+: ([0-9+-]+)=(\d+)(?:, \S+ 1)?", line).groups()
            assert eval(calculation) == int(result)
        calculation, result = lines[-1].split(" = ")
        assert eval(calculation) == int(result) == int(problem.result) >= 0
        assert lines[0] == calculation and sign in calculation
        assert set(re.findall(r"\d+", problem.question)) == set(re.findall(r"\d+", lines[0]))


def test_a_sort_takes_the_next_number_each_time():
    for problem in many("sort"):
        asked = [int(n) for n in re.findall(r"\d+", problem.question)]
        result = [int(n) for n in problem.result.split(", ")]
        assert sorted(asked) == sorted(result) and result in (sorted(asked), sorted(asked, reverse=True))
        taken = [int(n) for n in re.findall(r"(\d+)(?=\n|$)", problem.steps)]
        assert taken == result


def test_letters_are_counted_as_they_come():
    for problem in many("letters"):
        letter, word = problem.key.split()
        assert int(problem.result) == word.count(letter)
        assert "".join(step.split()[0] for step in problem.steps.split(", ")) == word
        assert problem.steps.endswith(f" {problem.result}")


def test_a_story_ends_with_what_happened():
    for problem in many("story"):
        begun, *events = (int(n) for n in problem.key.split())
        assert begun + sum(events) == int(problem.result) >= 0
        assert problem.result in problem.answer


@pytest.mark.parametrize("task", TASKS)
def test_the_answer_of_a_problem_is_marked_right_and_another_is_not(task):
    if task == "talk":
        return
    for problem in many(task, 50):
        assert exam.right(problem, problem.answer)
        assert not exam.right(problem, problem.answer.replace(problem.result, "77777"))
        assert not exam.right(problem, "")


def operands(problem):
    """As its question shows them, in order, not as its key says; with the result, since a sort may ask for either direction."""
    return *re.findall(r"\d+", problem.question), problem.result


@pytest.mark.parametrize("task", ["sum", "difference", "sort"])
def test_lessons_of_a_task_and_its_exam_share_no_operands(task):
    """Small numbers meet often: without the sieve most of these would be shared."""
    chosen, small = random.Random(3), lambda problem: all(len(n) <= 2 for n in re.findall(r"\d+", problem.question))
    taught = {operands(problem) for _ in range(6000) if small(problem := lesson(chosen, {task: 1.0}))}
    asked = {operands(problem) for problem in exam.problems(random.Random(4), 400, task) if small(problem)}
    assert len(asked) > 5 and not taught & asked


def test_one_seed_makes_one_set_of_problems():
    one, other = (exam.problems(random.Random(9), 20) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    "text", ["Xin chào, thủ đô là Hà Nội.", "你好,中国的首都是北京。", "👩‍🚀🇻🇳 e\u0301", "a\tb\n\n c  d\r\n", "<think>x</think>", ""]
)
def test_any_text_is_read_and_written_as_it_was(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_digits_and_the_letters_of_a_word_are_tokens_of_their_own(tokenizer):
    assert tokenizer.convert_ids_to_tokens(tokenizer("4821").input_ids) == list("4821")
    assert tokenizer.convert_ids_to_tokens(tokenizer('"strawberry"').input_ids)[1:-1] == list("strawberry")


def test_the_template_opens_the_trace_and_drops_earlier_ones(tokenizer):
    turns = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2+2\n</think>\n\n2"}, {"role": "user", "content": "?"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text.endswith("<|im_start|>assistant\n<think>\n") and "2+2" not in text and "assistant\n2<|im_end|>" in text


def test_a_batch_asks_for_trace_and_answer_only(tokenizer):
    for batch in islice(batches(tokenizer, 1, 2048), 20):
        assert batch.ids.numel() <= 2048 and batch.ids.shape == batch.labels.shape
        asked = batch.labels != IGNORED
        assert torch.equal(batch.ids[asked], batch.labels[asked])
        for row, wanted in zip(batch.ids, asked, strict=True):
            first = int(wanted.nonzero()[0])
            before = tokenizer.decode(row[:first])
            assert "<think>\n" in before and before.count("<|im_start|>") == tokenizer.decode(row).count("<|im_start|>")
            assert tokenizer.decode(row[wanted]).endswith("<|im_end|>")


def test_a_few_steps_of_training_learn_something_and_what_is_written_loads(tokenizer, tmp_path):
    from transformers import Qwen3NextForCausalLM

    from backend.local.loading import load_folder
    from backend.local.names import Asked
    from backend.local.progress import unheard
    from backend.local.tiny.writing import write

    torch.manual_seed(1)
    model = Qwen3NextForCausalLM(train.config(tokenizer))
    lessons = batches(tokenizer, 1, 512)
    batch = next(lessons)

    def loss():
        with torch.no_grad():
            return float(model(input_ids=batch.ids, labels=batch.labels, use_cache=False).loss)

    before = loss()
    train.train_model(model, lessons, 6)
    assert loss() < before
    head = train.new_head(model, 1)
    assert all(float(value.std()) > 0 for name, value in head.layers.named_parameters() if ".experts." in name)
    kept = {name: value.clone() for name, value in model.named_parameters()}
    weights = {name: value.clone() for name, value in head.layers.named_parameters()}
    train.train_head(model, head, lessons, 3)
    assert all(torch.equal(kept[name], value) for name, value in model.named_parameters())
    assert not all(torch.equal(weights[name], value) for name, value in head.layers.named_parameters())
    write(model, head, tokenizer, tmp_path)
    loaded = load_folder(Asked("x", "folder", str(tmp_path)), tmp_path, unheard)
    assert loaded.thinking == "always" and loaded.network.drafts and loaded.end_ids == {tokenizer.eos_token_id}


def test_courses_that_were_run_one_after_the_other_give_the_weights_of_one_run(monkeypatch, tokenizer, tmp_path):
    """As the weights in assets/ were made, in parts, and the one command of their card makes them."""
    first, second = train.COURSES
    monkeypatch.setattr(train, "COURSES", (replace(first, steps=2), replace(second, steps=2)))
    monkeypatch.setattr(train, "BATCH_TOKENS", 512)
    monkeypatch.setattr(lessons, "_POOL", 32)
    monkeypatch.setattr(train, "build", lambda seed: tokenizer if seed == 7 else None)  # counting its words takes a while

    def run(folder, *options):
        monkeypatch.setattr("sys.argv", ["train", str(tmp_path / folder), "--mtp-steps", "1", *options])
        train.main()
        return load_file(tmp_path / folder / "model.safetensors")

    whole, half = run("whole"), run("half", "--courses", "1")
    rest = run("rest", "--after", "1", "--begin", str(tmp_path / "half"))
    assert whole.keys() == rest.keys() and any(name.startswith("mtp.") for name in whole)
    assert all(torch.equal(whole[name], rest[name]) for name in whole)
    assert not all(torch.equal(half[name], rest[name]) for name in half)
