"""What may be posted to the page: how much, how deep, what kind."""

from __future__ import annotations

import json
import random

import pytest

from backend.json_shape import MAX_DEPTH, JsonShape
from ui.bodies import MAX_BODY_BYTES, MAX_HELD_BYTES, MAX_VALUES, BoundedBodies


class Sent:
    """A request in pieces, as a server hands it on; `left` are those nobody has asked for."""

    def __init__(
        self,
        *pieces: bytes,
        length: int | None = None,
        kind: str = "application/json",
        path: str = "/gradio_api/queue/join",
        method: str = "POST",
    ) -> None:
        self.left = [{"type": "http.request", "body": piece, "more_body": n + 1 < len(pieces)} for n, piece in enumerate(pieces)]
        headers = [(b"content-type", kind.encode())] if kind else []
        headers += [(b"content-length", str(length).encode())] if length is not None else []
        self.scope = {"type": "http", "method": method, "path": path, "headers": headers}
        self.got: bytes | None = None
        self.answer: list = []

    async def receive(self):
        return self.left.pop(0) if self.left else {"type": "http.disconnect"}

    async def send(self, message) -> None:
        self.answer.append(message)

    async def app(self, scope, receive, send) -> None:
        message = await receive()
        self.got = message["body"]
        assert message["more_body"] is False
        assert (await receive())["type"] == "http.disconnect"  # what comes after the body is handed on
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def status(self) -> int | None:
        await BoundedBodies(self.app)(self.scope, self.receive, self.send)
        return self.answer[0]["status"] if self.answer else None


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


# ---- size
async def test_a_body_in_pieces_reaches_the_page_whole():
    sent = Sent(b'{"data":', b"[1]", b"}")
    assert (await sent.status(), sent.got) == (200, b'{"data":[1]}')


async def test_the_largest_body_passes_and_one_byte_more_does_not():
    piece = b" " * (MAX_BODY_BYTES // 4)
    assert await Sent(piece, piece, piece, piece).status() == 200
    more = Sent(piece, piece, piece, piece, b" ", b"never read")
    assert await more.status() == 413 and more.got is None and len(more.left) == 1
    assert "10 MB" in json.loads(more.answer[1]["body"])["detail"]


async def test_what_says_that_it_is_too_large_is_not_read_at_all():
    sent = Sent(b"x", length=MAX_BODY_BYTES + 1)
    assert await sent.status() == 413 and len(sent.left) == 1
    assert await Sent(b"1", length=MAX_BODY_BYTES).status() == 200


async def test_who_breaks_off_gets_nothing_and_reaches_nothing():
    sent = Sent(b"1")
    sent.left[0]["more_body"] = True
    assert await sent.status() is None and sent.got is None


# ---- depth
@pytest.mark.parametrize(("depth", "status"), [(MAX_DEPTH, 200), (MAX_DEPTH + 1, 413), (100_000, 413)])
async def test_the_deepest_body_passes_and_one_level_more_does_not(depth, status):
    assert await Sent(nested(depth)).status() == status
    assert await Sent(b'{"a":' * depth + b"1" + b"}" * depth).status() == status


async def test_too_deep_is_seen_before_the_rest_has_come():
    sent = Sent(b"[" * 100, *[b"[" * 1000] * 50)
    assert await sent.status() == 413 and len(sent.left) == 50


@pytest.mark.parametrize(
    ("text", "deepest"),
    [
        (b"", 0), (b"1", 0), (b"[]", 1), (b'{"a":[1,{"b":[]}]}', 4), (b'"[[[["', 0), (b'["[[[["]', 1), (b'["\\"[[["]', 1), (b'["\\\\",[[]]]', 3), (b'["\\\\\\"[["]', 1),
        (b"[],[],[]", 1), (b"]]]][", 0), ('["Tiếng Việt [[[ 中文「"]'.encode(), 1), (b'{"a[":"]{"}', 1), (b'["\\u005b[["]', 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [1, 2, 3, 1000])
def test_depth_counts_what_is_not_in_quotes_however_it_is_cut(text, deepest, piece):
    depth = JsonShape(max_values=10**9)
    for start in range(0, len(text), piece):
        depth.feed(text[start : start + piece])
    assert depth.deepest == deepest


def test_depth_of_random_json_is_that_of_its_values():
    draw = random.Random(7)

    def value(left: int):
        kind = draw.randrange(4) if left else 0
        if kind == 0:
            return "".join(draw.choice('[]{}"\\ab中\n') for _ in range(draw.randrange(6)))
        items = [value(left - 1) for _ in range(draw.randrange(3))]
        return items if kind < 3 else {str(n) + '"[': item for n, item in enumerate(items)}

    def deep(item) -> int:
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else None
        return 0 if inner is None else 1 + max(map(deep, inner), default=0)

    for _ in range(300):
        made, depth = value(6), JsonShape(max_values=10**9)
        text = json.dumps(made, ensure_ascii=draw.random() < 0.5).encode()
        cut = draw.randrange(len(text) + 1)
        depth.feed(text[:cut]), depth.feed(text[cut:])
        assert depth.deepest == deep(made)


# ---- kind
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "text/json", "application/jsonx"]
)
async def test_what_a_page_elsewhere_may_send_without_asking_is_refused(kind):
    sent = Sent(b'{"data":[]}', kind=kind)
    assert await sent.status() == 415 and sent.got is None


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
async def test_json_is_taken(kind):
    assert await Sent(b"{}", kind=kind).status() == 200


async def test_a_post_without_a_body_needs_no_kind():
    assert await Sent(b"", kind="").status() == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/gradio_api/upload"), ("HEAD", "/")])
async def test_other_requests_are_not_looked_at(method, path):
    async def app(scope, receive, send) -> None:
        assert (await receive())["more_body"] is True
        await send({"type": "http.response.start", "status": 200, "headers": []})

    sent = Sent(b"x", b"y", kind="text/plain", method=method, path=path)
    await BoundedBodies(app)(sent.scope, sent.receive, sent.send)
    assert sent.answer[0]["status"] == 200


# ---- how many values
@pytest.mark.parametrize(
    ("body", "values"),
    [(b"", 0), (b"[]", 1), (b"[1,2,3]", 3), (b'{"a":1,"b":[2]}', 3), (b'",,,,"', 0), (b'["a,b","c\\",d"]', 2), (b"[],[],[]", 5)],
)
@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_values_are_counted_by_what_stands_between_and_around_them(body, values, piece):
    shape = JsonShape(max_values=10**9)
    for start in range(0, len(body), piece):
        shape.feed(body[start : start + piece])
    assert shape.values == values


@pytest.mark.parametrize(("values", "status"), [(MAX_VALUES, 200), (MAX_VALUES + 1, 413)])
async def test_as_many_values_as_may_be_and_not_one_more(values, status):
    sent = Sent(b"[" + b",".join([b"1"] * values) + b"]")
    assert await sent.status() == status
    assert status == 200 or sent.got is None


async def test_many_large_bodies_at_once_are_bounded_and_given_back(monkeypatch):
    monkeypatch.setattr("ui.bodies.MAX_HELD_BYTES", 100)
    held = []

    async def app(scope, receive, send) -> None:
        held.append((await receive())["body"])
        if len(held) == 1:  # while the first is at work, another one comes
            second = Sent(b" " * 41)
            await bounded(second.scope, second.receive, second.send)
            assert second.answer[0]["status"] == 503
            third = Sent(b" " * 40)
            await bounded(third.scope, third.receive, third.send)
            assert third.answer[0]["status"] == 200
        await send({"type": "http.response.start", "status": 200, "headers": []})

    bounded = BoundedBodies(app)
    first = Sent(b" " * 60)
    await bounded(first.scope, first.receive, first.send)
    assert first.answer[0]["status"] == 200 and bounded._held_bytes == 0
    assert MAX_HELD_BYTES >= 10 * MAX_BODY_BYTES


# ---- the page that it names
@pytest.mark.parametrize(
    ("body", "session"),
    [
        (b'{"session_hash":"abc","data":[]}', "abc"), (b'{"session\\u005fhash":"abc"}', "abc"), (b'{"session_hash":"a","session_hash":"b"}', "b"),
        (b'{"data":["\\"session_hash\\":\\"decoy\\""],"session_hash":"real"}', "real"), (b'{"session_hash":5}', "5"), (b"{}", None), (b"[1]", None),
        (b"no json", None), (b'{"session_hash":null}', None), (b'{"data":"' + b"x" * 9000 + b'","session_hash":"far"}', "far"),
    ],
)  # fmt: skip
async def test_the_page_that_a_body_names_is_asked_about_before_gradio_sees_it(body, session):
    asked = []

    def admit(scope, named):
        asked.append(named)
        return "Too many."

    sent = Sent(body)
    await BoundedBodies(sent.app, admit=admit)(sent.scope, sent.receive, sent.send)
    assert asked == [session] and sent.answer[0]["status"] == 503 and sent.got is None
