"""Problems that need steps, made from a seed: question, the steps that solve it, and the answer, in three languages.

Sums and differences are written from the ones upwards with their carries, a sort takes the smallest number each time, letters are
counted one by one, and a word problem becomes sums and differences. The operands alone decide whether a problem is kept for
the exam (`held_out`), so that no other wording of it is ever a lesson of its task. As steps of a word problem, sums of up to three
digits are taught whether they are in the exam or not.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from backend.local.tiny import wording
from backend.local.tiny.wording import WORDING, Language, Wording

Task = Literal["sum", "difference", "sort", "letters", "story", "talk"]
TASKS: tuple[Task, ...] = ("sum", "difference", "sort", "letters", "story", "talk")
_EXAM_SHARE = 16  # one in so many problems is never trained on


@dataclass(frozen=True, slots=True)
class Problem:
    """`key` names the operands and not the words around them; `result` is what an answer is marked by ("" where by its text)."""

    task: Task
    language: Language
    question: str
    steps: str
    answer: str
    result: str
    key: str

    @property
    def held_out(self) -> bool:
        """Whether it belongs to the exam. Talk is learnt by heart and has none."""
        return self.task != "talk" and zlib.crc32(self.key.encode()) % _EXAM_SHARE == 0


def make(task: Task, language: Language, random_: random.Random) -> Problem:
    """One problem of a task, held out or not."""
    return _MAKERS[task](WORDING[language], random_)


def add(words: Wording, a: int, b: int) -> str:
    """The steps of a + b, column by column, each with its carry."""
    lines, carry = [f"{a} + {b}"], 0
    for place in range(max(len(str(a)), len(str(b)))):
        x, y = a // 10**place % 10, b // 10**place % 10
        total = x + y + carry
        parts = f"{x}+{y}+{carry}" if carry else f"{x}+{y}"
        carry = total // 10
        lines.append(f"{words.places[place]}: {parts}={total}" + (f", {words.carry} 1" if carry else ""))
    return "\n".join([*lines, f"{a} + {b} = {a + b}"])


def subtract(words: Wording, a: int, b: int) -> str:
    """The steps of a - b for a >= b, column by column, each with what it borrows."""
    lines, borrow = [f"{a} - {b}"], 0
    for place in range(len(str(a))):
        x, y = a // 10**place % 10, b // 10**place % 10
        lend = x - y - borrow < 0
        top = x + 10 * lend
        parts = f"{top}-{y}-{borrow}" if borrow else f"{top}-{y}"
        left = top - y - borrow
        borrow = int(lend)
        lines.append(f"{words.places[place]}: {parts}={left}" + (f", {words.borrow} 1" if lend else ""))
    return "\n".join([*lines, f"{a} - {b} = {a - b}"])


def sort(words: Wording, numbers: list[int], *, descending: bool) -> str:
    """The steps of a selection sort."""
    left, lines = list(numbers), []
    name = words.largest if descending else words.smallest
    while len(left) > 1:
        taken = max(left) if descending else min(left)
        lines.append(f"{_list(left)}: {name} {taken}")
        left.remove(taken)
    return "\n".join([*lines, f"{left[0]}"])


def count(letter: str, word: str) -> str:
    """Each letter of a word with how often the one looked for has come by then."""
    seen, parts = 0, []
    for character in word:
        seen += character == letter
        parts.append(f"{character} {seen}")
    return ", ".join(parts)


# ---- one maker a task
def _number(random_: random.Random, digits: int) -> int:
    """Uniform in the number of digits first, so that short numbers are seen as often as long ones."""
    length = random_.randint(1, digits)
    return random_.randint(10 ** (length - 1) if length > 1 else 0, 10**length - 1)


def _sum(words: Wording, random_: random.Random) -> Problem:
    digits = random_.choice((2, 3, 4, 4, 4))
    a, b = _number(random_, digits), _number(random_, digits)
    question = random_.choice(words.sum).format(a=a, b=b)
    return Problem("sum", words.language, question, add(words, a, b), f"{a} + {b} = {a + b}", str(a + b), f"{a}+{b}")


def _difference(words: Wording, random_: random.Random) -> Problem:
    digits = random_.choice((2, 3, 3))
    b, a = sorted((_number(random_, digits), _number(random_, digits)))
    question = random_.choice(words.difference).format(a=a, b=b)
    return Problem("difference", words.language, question, subtract(words, a, b), f"{a} - {b} = {a - b}", str(a - b), f"{a}-{b}")


def _sort(words: Wording, random_: random.Random) -> Problem:
    high = random_.choice((20, 100, 100, 1000))
    numbers = random_.sample(range(1, high), random_.randint(3, 5))
    descending = random_.random() < 0.3
    listed = (", " if random_.random() < 0.8 else " ").join(map(str, numbers))
    question = random_.choice(words.sort_down if descending else words.sort_up).format(numbers=listed)
    result = _list(sorted(numbers, reverse=descending))
    key = f"{_list(numbers)} {descending}"
    return Problem("sort", words.language, question, sort(words, numbers, descending=descending), result, result, key)


def _letters(words: Wording, random_: random.Random) -> Problem:
    word = wording.word(random_)
    letter = random_.choice(word) if random_.random() < 0.85 else random_.choice("abcdefghijklmnopqrstuvwxyz")
    times = word.count(letter)
    question = random_.choice(words.letters).format(letter=letter, word=word)
    answer = words.letters_answer(letter, word, times)
    return Problem("letters", words.language, question, count(letter, word), answer, str(times), f"{letter} {word}")


def _story(words: Wording, random_: random.Random) -> Problem:
    digits = random_.choice((1, 2, 2, 3))
    has = _number(random_, digits) + 1
    name, things = random_.choice(words.names), random_.choice(words.things)
    told, steps, key = [random_.choice(words.has).format(name=name, things=things, n=has)], [], [str(has)]
    for _ in range(random_.choice((1, 1, 2))):
        more = random_.random() < 0.55 or has < 2
        n = _number(random_, digits) + 1 if more else random_.randint(1, has)
        event = random_.choice(words.gets if more else words.gives)
        told.append(event.format(name=name, n=n, things=things, other=random_.choice([x for x in words.names if x != name])))
        steps.append(add(words, has, n) if more else subtract(words, has, n))
        key.append(f"{n:+}" if more else f"-{n}")
        has += n if more else -n
    told.append(random_.choice(words.how_many).format(name=name, things=things))
    answer = words.story_answer.format(name=name, n=has, things=things)
    return Problem("story", words.language, words.join.join(told), "\n".join(steps), answer, str(has), " ".join(key))


def _talk(words: Wording, random_: random.Random) -> Problem:
    if random_.random() < 0.4:
        said = random_.choice(words.greetings)
        return Problem("talk", words.language, said, words.greeting_steps, words.greeting_answer, "", said)
    said = wording.other_question(words, random_)
    return Problem("talk", words.language, said, words.other_steps, words.other_answer, "", said)


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


_MAKERS: dict[Task, Callable[[Wording, random.Random], Problem]] = {
    "sum": _sum,
    "difference": _difference,
    "sort": _sort,
    "letters": _letters,
    "story": _story,
    "talk": _talk,
}
