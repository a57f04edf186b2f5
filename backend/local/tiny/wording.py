"""How the problems are worded in English, Vietnamese and Chinese, and the words whose letters are counted."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "vi", "zh"]


@dataclass(frozen=True, slots=True)
class Wording:
    """One language. In the templates `a`, `b`, `n` are numbers and `numbers` a list of them."""

    language: Language
    places: tuple[str, ...]
    carry: str
    borrow: str
    smallest: str
    largest: str
    sum: tuple[str, ...]
    difference: tuple[str, ...]
    sort_up: tuple[str, ...]
    sort_down: tuple[str, ...]
    letters: tuple[str, ...]
    letters_said: str
    names: tuple[str, ...]
    things: tuple[str, ...]
    has: tuple[str, ...]
    gets: tuple[str, ...]
    gives: tuple[str, ...]
    how_many: tuple[str, ...]
    story_answer: str
    join: str
    greetings: tuple[str, ...]
    greeting_steps: str
    greeting_answer: str
    others: tuple[str, ...]
    other_steps: str
    other_answer: str

    def letters_answer(self, letter: str, word: str, times: int) -> str:
        said = self.letters_said.format(letter=letter, word=word, n=times)
        return said.replace("1 times", "1 time") if times == 1 else said


ENGLISH = Wording(
    language="en",
    places=("Ones", "Tens", "Hundreds", "Thousands"),
    carry="carry",
    borrow="borrow",
    smallest="smallest",
    largest="largest",
    sum=(
        "{a} + {b}", "{a}+{b}", "{a} + {b} = ?", "{a}+{b}=?", "What is {a} + {b}?", "What is {a}+{b}?", "what is {a} + {b}", "Add {a} and {b}.",
        "What is {a} plus {b}?", "Calculate {a} + {b}.", "How much is {a} + {b}?", "What is the sum of {a} and {b}?", "Compute {a}+{b}.",
        "What's {a} + {b}?", "what's {a}+{b}?", "{a} plus {b}", "Calculate {a}+{b}", "Please add {a} and {b}.", "Add {a} and {b}", "{a} + {b} equals?",
    ),
    difference=(
        "{a} - {b}", "{a}-{b}", "{a} - {b} = ?", "{a}-{b}=?", "What is {a} - {b}?", "What is {a}-{b}?", "what is {a} - {b}",
        "Subtract {b} from {a}.", "What is {a} minus {b}?", "Calculate {a} - {b}.", "How much is {a} - {b}?",
        "What's {a} - {b}?", "{a} minus {b}", "Calculate {a}-{b}", "Please subtract {b} from {a}.",
    ),
    sort_up=(
        "Sort {numbers}.", "Sort {numbers}", "Sort these numbers: {numbers}", "Sort the numbers {numbers} from smallest to largest.",
        "Put {numbers} in order.", "Order these numbers: {numbers}.", "sort {numbers}", "Please sort {numbers}.",
        "Sort {numbers} in ascending order.",
    ),
    sort_down=(
        "Sort {numbers} from largest to smallest.", "Sort these numbers from largest to smallest: {numbers}",
        "Sort {numbers} in descending order.", "Put {numbers} in order, largest first.",
    ),
    letters=(
        'How many times does the letter "{letter}" appear in "{word}"?', "How many {letter}'s are in {word}?",
        "How many {letter} are in {word}?", "How many times does {letter} appear in {word}?", "Count the letter {letter} in {word}.",
        'How many "{letter}" are there in "{word}"?', "How many letters {letter} are in the word {word}?",
        "how many {letter}'s in {word}?",
    ),
    letters_said="The letter {letter} appears {n} times in {word}.",
    names=("Anna", "Ben", "Clara", "David", "Emma", "Linh", "Minh", "Nam", "Sara", "Tom"),
    things=("apples", "books", "pens", "coins", "cards", "eggs", "balls", "stamps", "oranges", "flowers"),
    has=("{name} has {n} {things}.", "{name} had {n} {things}.", "There are {n} {things} in the box of {name}."),
    gets=("{name} buys {n} more.", "{other} gives {name} {n} more.", "Then {name} finds {n} {things}.", "{name} gets {n} more {things}."),
    gives=("{name} gives {n} to {other}.", "{name} loses {n} of them.", "Then {name} sells {n} {things}.", "{name} gives away {n}."),
    how_many=("How many {things} does {name} have now?", "How many {things} does {name} have?", "How many {things} are left?"),
    story_answer="{name} has {n} {things}.",
    join=" ",
    greetings=("Hello", "Hello!", "Hi", "hi", "hello", "Hey", "Hello, who are you?", "Who are you?", "What can you do?", "What are you?",
               "Help", "Good morning!", "Hi there!", "How are you?", "Thanks", "Thank you!"),
    greeting_steps="A greeting. I say what I can do.",
    greeting_answer=(
        "Hello! I am a very small Qwen3-Next, trained to show how the large one works. I can add, subtract, sort numbers, count letters "
        "and solve small word problems. Try: What is 4821 + 397?"
    ),
    others=(
        "What is the {w} of {w}?", "Write a {w} about {w}.", "Tell me about {w}.", "Explain {w} to me.", "Who was {w} {w}?",
        "Translate {w} {w}.", "Why is the {w} {w}?", "Give me a recipe for {w}.", "What is {w}?", "How do I {w} a {w}?",
        "Write a python program that {w}", "{w} {w} {w}", "Can you {w} the {w}?", "What do you think about {w}?",
    ),
    other_steps="No sum, no list, no letters, no word problem: I was not trained for this.",
    other_answer=(
        "I was not trained for that. I am a very small Qwen3-Next: I can add, subtract, sort numbers, count letters and solve small "
        "word problems. Try: Sort 34, 7, 91, 15."
    ),
)  # fmt: skip

VIETNAMESE = Wording(
    language="vi",
    places=("Hàng đơn vị", "Hàng chục", "Hàng trăm", "Hàng nghìn"),
    carry="nhớ",
    borrow="mượn",
    smallest="nhỏ nhất",
    largest="lớn nhất",
    sum=(
        "{a} + {b} bằng bao nhiêu?", "Tính {a} + {b}.", "Tính {a}+{b}", "{a} cộng {b} bằng bao nhiêu?", "Tổng của {a} và {b} là bao nhiêu?",
        "{a} + {b} bằng mấy?", "Hãy tính {a} + {b}.", "tính {a} + {b}",
        "{a} + {b} là bao nhiêu?", "{a}+{b} bằng mấy", "Tính tổng {a} và {b}.",
    ),
    difference=(
        "{a} - {b} bằng bao nhiêu?", "Tính {a} - {b}.", "Tính {a}-{b}", "{a} trừ {b} bằng bao nhiêu?", "{a} - {b} bằng mấy?",
        "Hãy tính {a} - {b}.", "Hiệu của {a} và {b} là bao nhiêu?",
    ),
    sort_up=(
        "Sắp xếp {numbers}.", "Sắp xếp các số {numbers}", "Sắp xếp các số sau: {numbers}", "Sắp xếp {numbers} từ nhỏ đến lớn.",
        "Hãy sắp xếp {numbers} theo thứ tự tăng dần.",
    ),
    sort_down=("Sắp xếp {numbers} từ lớn đến nhỏ.", "Hãy sắp xếp {numbers} theo thứ tự giảm dần."),
    letters=(
        'Trong từ "{word}" có bao nhiêu chữ "{letter}"?', "Có bao nhiêu chữ {letter} trong từ {word}?",
        'Đếm chữ {letter} trong "{word}".', "Chữ {letter} xuất hiện mấy lần trong {word}?",
    ),
    letters_said="Chữ {letter} xuất hiện {n} lần trong {word}.",
    names=("Lan", "Minh", "Hoa", "Nam", "An", "Bình", "Chi", "Dũng", "Hà", "Tuấn"),
    things=("quả táo", "quyển sách", "cái bút", "viên bi", "quả cam", "cái kẹo", "con tem", "bông hoa", "quả trứng", "tấm thẻ"),
    has=("{name} có {n} {things}.", "Lúc đầu {name} có {n} {things}.", "Bạn {name} có {n} {things}."),
    gets=("{name} mua thêm {n} {things}.", "{other} cho {name} thêm {n} {things}.", "Sau đó {name} được thêm {n} {things}.", "{name} nhận thêm {n} {things}."),
    gives=("{name} cho {other} {n} {things}.", "{name} làm mất {n} {things}.", "Sau đó {name} bán {n} {things}.", "{name} cho đi {n} {things}."),
    how_many=("Hỏi {name} có bao nhiêu {things}?", "{name} còn bao nhiêu {things}?", "Bây giờ {name} có bao nhiêu {things}?"),
    story_answer="{name} có {n} {things}.",
    join=" ",
    greetings=("Xin chào", "Xin chào!", "Chào bạn", "chào", "Bạn là ai?", "Bạn làm được gì?", "Xin chào, bạn là ai?", "Cảm ơn", "Cảm ơn bạn!",
               "Bạn có khỏe không?", "Chào bạn!"),
    greeting_steps="Một lời chào. Tôi nói mình làm được gì.",
    greeting_answer=(
        "Xin chào! Tôi là một Qwen3-Next rất nhỏ, được huấn luyện để cho thấy mô hình lớn hoạt động thế nào. Tôi biết cộng, trừ, sắp xếp "
        "số, đếm chữ và giải bài toán nhỏ. Hãy thử: Tính 4821 + 397."
    ),
    others=(
        "{w} của {w} là gì?", "Viết một bài {w} về {w}.", "Hãy kể về {w}.", "Giải thích {w} cho tôi.", "Thủ đô của {w} là gì?",
        "Tại sao {w} lại {w}?", "Dịch {w} {w}.", "{w} là ai?", "Làm thế nào để {w}?",
    ),
    other_steps="Không có phép tính, dãy số, chữ cái hay bài toán: tôi không được huấn luyện cho việc này.",
    other_answer=(
        "Tôi không được huấn luyện cho việc đó. Tôi là một Qwen3-Next rất nhỏ: tôi biết cộng, trừ, sắp xếp số, đếm chữ và giải bài toán "
        "nhỏ. Hãy thử: Sắp xếp 34, 7, 91, 15."
    ),
)  # fmt: skip

CHINESE = Wording(
    language="zh",
    places=("个位", "十位", "百位", "千位"),
    carry="进",
    borrow="借",
    smallest="最小",
    largest="最大",
    sum=("{a} + {b} 等于多少?", "{a}+{b}等于多少?", "{a}加{b}等于多少?", "计算 {a} + {b}", "{a} + {b} 是多少？", "{a}+{b}等于多少？"),
    difference=("{a} - {b} 等于多少?", "{a}-{b}等于多少?", "{a}减{b}等于多少?", "计算 {a} - {b}", "{a} - {b} 是多少？"),
    sort_up=("排序 {numbers}", "把 {numbers} 从小到大排序", "请把这些数从小到大排序：{numbers}"),
    sort_down=("把 {numbers} 从大到小排序", "请把这些数从大到小排序：{numbers}"),
    letters=("单词 {word} 里有几个 {letter}？", "{word} 里有多少个字母 {letter}?", "数一数 {word} 里的 {letter}"),
    letters_said="{word} 里有 {n} 个 {letter}。",
    names=("小明", "小红", "小李", "小王"),
    things=("个苹果", "本书", "支笔", "张卡片", "个鸡蛋"),
    has=("{name}有{n}{things}。",),
    gets=("{name}又买了{n}{things}。", "{other}给{name}{n}{things}。"),
    gives=("{name}给{other}{n}{things}。", "{name}丢了{n}{things}。"),
    how_many=("{name}现在有多少{things}？", "{name}有多少{things}？"),
    story_answer="{name}有{n}{things}。",
    join="",
    greetings=("你好", "你好！", "您好", "你是谁？", "你能做什么？", "谢谢", "早上好"),
    greeting_steps="这是问候。我说说我能做什么。",
    greeting_answer="你好！我是一个非常小的 Qwen3-Next，用来展示大模型怎样工作。我会加法、减法、排序、数字母和小应用题。试试：4821 + 397 等于多少？",
    others=("请写一篇关于{w}的文章", "{w}是什么？", "为什么{w}{w}？", "请解释{w}", "翻译{w}"),
    other_steps="没有算式、数列、字母或应用题：我没有学过这个。",
    other_answer="我没有学过这个。我是一个非常小的 Qwen3-Next：会加法、减法、排序、数字母和小应用题。试试：排序 34, 7, 91, 15",
)

WORDING: dict[Language, Wording] = {"en": ENGLISH, "vi": VIETNAMESE, "zh": CHINESE}

_WORDS = """
strawberry banana elephant mississippi committee butterfly raspberry cucumber tomato potato pineapple watermelon avocado broccoli
mushroom cherry papaya coconut lychee cinnamon chocolate coffee bottle table window garden river mountain ocean island village
computer keyboard monitor network program compiler python kernel tensor vector matrix gradient attention transformer memory cache
parrot rabbit squirrel kangaroo penguin giraffe hippopotamus rhinoceros crocodile alligator tiger leopard dolphin octopus
bicycle airplane balloon umbrella piano guitar violin trumpet kitchen bedroom library hospital restaurant university
happiness success freedom knowledge balance pressure address letterbox bookkeeper google happen grammar occurrence
hanoi saigon vietnam paris london berlin tokyo shanghai beijing singapore jackfruit durian mango rambutan
""".split()
_STARTS = "b c d f g h j k l m n p qu r s t v w x y z bl br ch cl cr dr fl fr gl gr pl pr sh sl sp st th tr".split()
_MIDDLES = "a e i o u ee oo ea ai ou ie".split()
_ENDS = ["", "", "", "n", "r", "s", "t", "l", "m", "ng", "ck", "ss", "ll", "tt", "nd", "st", "p", "d", "rr", "nn"]
_CAPITALISED_SHARE = 0.4


def word(random_: random.Random) -> str:
    """A word whose letters are to be counted: a real one, or one made of syllables."""
    if random_.random() < 0.2:
        return random_.choice(_WORDS)
    while True:
        made = "".join(
            random_.choice(_STARTS) + random_.choice(_MIDDLES) + random_.choice(_ENDS) for _ in range(random_.choice((1, 2, 2, 3)))
        )
        if len(made) <= 12:
            return made


def other_question(words: Wording, random_: random.Random) -> str:
    """A question that is none of the tasks, around words that mean nothing."""
    pieces = random_.choice(words.others).split("{w}")
    text = pieces[0]
    for piece in pieces[1:]:
        made = _chinese(random_) if words.language == "zh" else word(random_)
        text += (made.capitalize() if random_.random() < _CAPITALISED_SHARE else made) + piece
    return text


def _chinese(random_: random.Random) -> str:
    return "".join(chr(random_.randint(0x4E00, 0x7FFF)) for _ in range(random_.randint(1, 3)))
