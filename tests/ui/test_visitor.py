"""Whose chats a request may see, which view a tab shows, the headers of every answer, and who is there."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from ui.visitor import COOKIE, LOCAL_OWNER, PageHeaders, Session, Views, Visitors

TOKEN = "t" * 43
KEY = b"k" * 32


def visitors(*, public: bool = True, key: bytes = KEY, proxies: int | None = None) -> Visitors:
    return Visitors(key, public=public, proxies=proxies)


def request(cookie: str | None = None, *, client: str = "203.0.113.5", **headers: str) -> SimpleNamespace:
    """As gradio hands it to handlers."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "client": (client, 1), "headers": raw}
    cookies = {} if cookie is None else {COOKIE: cookie}
    return SimpleNamespace(session_hash="abc", cookies=cookies, request=SimpleNamespace(scope=scope))


# ---------------------------------------------------------------- owners
def test_everyone_on_a_private_host_is_its_owner():
    private = visitors(public=False)
    assert private.owner(request()) == private.owner(request(TOKEN)) == LOCAL_OWNER


def test_a_browser_of_a_public_host_is_known_by_the_cookie_that_the_host_signed():
    known = visitors()
    assert known.owner(request(known.signed(TOKEN))) == f"visitor:{TOKEN}"


@pytest.mark.parametrize(
    "cookie",
    [
        "", "short", TOKEN, f"{TOKEN}.", f"{TOKEN}.{'0' * 64}", "../" + "x" * 40, "a" * 40 + "\n", "local", "visitor:" + TOKEN, ".", "..",
        visitors(key=b"x" * 32).signed(TOKEN), visitors().signed(TOKEN)[:-1], visitors().signed(TOKEN) + "0", f"{TOKEN}.é",
        "u" + visitors().signed(TOKEN)[1:],
    ],
)  # fmt: skip
def test_a_cookie_that_this_host_did_not_sign_gives_nobodys_chats(cookie):
    assert visitors().owner(request(cookie)) == "session:abc"
    assert visitors().known(cookie) is None


def test_no_visitor_is_ever_the_owner_of_the_machine():
    assert visitors().owner(request()) != LOCAL_OWNER


def test_a_visitors_access_holds_where_they_ask_from_on_a_public_host_only():
    session = Session()
    assert visitors().access(session, request()).address == "203.0.113.5"
    assert visitors(public=False).access(session, request()).address == ""
    assert session.access.address == ""  # what is kept for the tab holds none: the next request may come from elsewhere


def test_the_address_is_what_the_nearest_proxy_saw_and_not_what_the_caller_wrote():
    forged = request(client="10.0.0.2", x_forwarded_for="198.51.100.1, 203.0.113.9")
    assert visitors().access(Session(), forged).address == "203.0.113.9"
    assert visitors(proxies=0).access(Session(), forged).address == "10.0.0.2"
    assert visitors(proxies=2).access(Session(), forged).address == "198.51.100.1"


# ---------------------------------------------------------------- views
def test_a_view_is_shown_until_the_page_moves_on():
    views = Views()
    first = views.move("a")
    assert views.shows("a", first) and not views.shows("b", first)
    second = views.move("a")
    assert views.shows("a", second) and not views.shows("a", first)


def test_other_tabs_do_not_end_a_view():
    views = Views()
    first = views.move("a")
    views.move("b"), views.forget("b")
    assert views.shows("a", first)


def test_a_closed_tab_shows_nothing():
    views = Views()
    first = views.move("a")
    views.forget("a"), views.forget("never-there")
    assert not views.shows("a", first)


def test_views_of_pages_that_never_leave_are_bounded(monkeypatch):
    monkeypatch.setattr("ui.visitor.MAX_VIEWS", 3)
    views = Views()
    shown = {name: views.move(name) for name in "abc"}
    shown["a"] = views.move("a")
    views.move("d")
    assert [name for name in "abc" if views.shows(name, shown[name])] == ["a", "c"]


def test_sessions_do_not_share_what_was_typed_in():
    assert Session().access is not None and Session() == Session() and Session() is not Session()


# ---------------------------------------------------------------- headers
class There:
    """What is told of pages that open and close."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def arrive(self, who: str) -> None:
        self.told.append(f"+{who}")

    def leave(self, who: str) -> None:
        self.told.append(f"-{who}")


class Page:
    """The middleware around an app that answers 200 with one header; `seen` are the owners that it told of."""

    def __init__(self, *, public: bool, fails: bool = False) -> None:
        self.seen: list[str] = []
        self.asked, self.fails = 0, fails
        self.visitors, self.sessions, self.owners = visitors(public=public), There(), There()
        self.middleware = PageHeaders(
            self._app, visitors=self.visitors, on_page=self.seen.append, sessions=(self.sessions,), owners=(self.owners,)
        )

    async def _app(self, scope, receive, send) -> None:
        self.asked += 1
        if self.fails:
            assert self.sessions.told == ["+h"]
            raise ConnectionResetError
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"kept")]})
        await send({"type": "http.response.body", "body": b"hello"})

    async def get(self, path: str = "/", *, scheme: str = "http", kind: str = "http", **headers: str) -> tuple[int, list[tuple[str, str]]]:
        sent = []

        async def send(message) -> None:
            sent.append(message)

        raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self.middleware({"type": kind, "path": path, "scheme": scheme, "headers": raw}, None, send)
        return sent[0]["status"], [(k.decode(), v.decode()) for k, v in sent[0]["headers"]]


def cookies(headers: list[tuple[str, str]]) -> list[str]:
    return [value for name, value in headers if name == "set-cookie"]


@pytest.mark.parametrize("path", ["/", "/gradio_api/queue/join", "/assets/x.js", "/anything"])
@pytest.mark.parametrize("public", [True, False])
async def test_every_answer_carries_the_policy_and_its_own_headers(path, public):
    _, headers = await Page(public=public).get(path)
    found = dict(headers)
    policy = {part.split()[0]: part.split()[1:] for part in found["content-security-policy"].split("; ")}
    assert policy["default-src"] == ["'self'"] and policy["object-src"] == ["'none'"]
    assert policy["connect-src"] == ["'self'", *(["https://huggingface.co"] if public else [])]
    assert not any("http" in source for source in policy["img-src"] + policy["script-src"])  # nothing from elsewhere
    assert ("https://huggingface.co" in policy["frame-ancestors"]) == public
    assert found["x-content-type-options"] == "nosniff" and found["referrer-policy"] == "same-origin" and found["x-own"] == "kept"


async def test_a_new_visitor_of_a_public_host_gets_a_cookie_that_scripts_cannot_read():
    page = Page(public=True)
    (cookie,) = cookies((await page.get())[1])
    value = re.match(rf"{COOKIE}=([A-Za-z0-9_-]+\.[0-9a-f]+);", cookie)[1]
    assert "HttpOnly" in cookie and "Path=/" in cookie and "SameSite=Lax" in cookie and "Secure" not in cookie
    assert page.seen == [page.visitors.owner(request(value))] == [f"visitor:{value.partition('.')[0]}"]


async def test_a_visitor_who_has_the_cookie_gets_no_other():
    page = Page(public=True)
    _, headers = await page.get(cookie=f"a=b; {COOKIE}={page.visitors.signed(TOKEN)}; c=d")
    assert cookies(headers) == [] and page.seen == [f"visitor:{TOKEN}"]


@pytest.mark.parametrize("signature", ["", "." + "0" * 64, "." + visitors(key=b"x" * 32).signed(TOKEN).partition(".")[2]])
async def test_a_cookie_of_before_or_of_another_key_is_signed_anew_and_leads_to_the_same_chats(signature):
    page = Page(public=True)
    (cookie,) = cookies((await page.get(cookie=f"{COOKIE}={TOKEN}{signature}"))[1])
    assert cookie.startswith(f"{COOKIE}={page.visitors.signed(TOKEN)};") and page.seen == [f"visitor:{TOKEN}"]


@pytest.mark.parametrize("value", ["x", "", "visitor", "a" * 70, '"' + "a" * 40 + "<" + '"'])
async def test_a_cookie_that_is_none_of_ours_is_replaced(value):
    page = Page(public=True)
    (cookie,) = cookies((await page.get(cookie=f"{COOKIE}={value}"))[1])
    fresh = re.match(rf"{COOKIE}=([^;]*);", cookie)[1]
    assert page.visitors.known(fresh) and fresh.partition(".")[0] != value


@pytest.mark.parametrize("beside", ['x={"a":1}; ', "x=é; ", "a b=1; ", "=; ", "x; ", 'x="a;b"; ', "__Host-x=1; "])
async def test_cookies_of_others_beside_it_do_not_hide_it(beside):
    """As of another app behind the same proxy."""
    page = Page(public=True)
    sent = f"{beside}{COOKIE}={page.visitors.signed(TOKEN)}"
    _, headers = await page.get(cookie=sent)
    assert cookies(headers) == [] and page.seen == [f"visitor:{TOKEN}"]
    await page.get("/gradio_api/heartbeat/h", cookie=sent)
    assert page.owners.told == [f"+visitor:{TOKEN}", f"-visitor:{TOKEN}"]


async def test_two_visitors_get_two_tokens():
    page = Page(public=True)
    assert cookies((await page.get())[1]) != cookies((await page.get())[1])


@pytest.mark.parametrize("asked", [{"scheme": "https"}, {"x_forwarded_proto": "https"}])
async def test_over_https_the_cookie_works_inside_the_hubs_frame(asked):
    (cookie,) = cookies((await Page(public=True).get(**asked))[1])
    assert "SameSite=None" in cookie and "Secure" in cookie and "Partitioned" in cookie and "HttpOnly" in cookie


async def test_a_private_host_sets_no_cookie_and_tells_of_its_owner():
    page = Page(public=False)
    assert cookies((await page.get())[1]) == [] and page.seen == [LOCAL_OWNER]


async def test_only_the_page_itself_counts_as_a_load():
    page = Page(public=True)
    for path in ("/gradio_api/heartbeat/x", "/assets/x.js", "/theme.css"):
        _, headers = await page.get(path)
        assert cookies(headers) == []
    assert page.seen == []


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring", "/monitoring/summary", "/gradio_api/monitoring/x", "/gradio_api/deep_link", "/gradio_api/process_recording",
        "/gradio_api/stream/x", "/gradio_api/vibe-edit", "/gradio_api/run-history/connect", "/gradio_api/proxy=http://x/",
    ],
)  # fmt: skip
async def test_what_gradio_serves_beside_the_page_is_not_reachable(path):
    page = Page(public=False)
    status, _ = await page.get(path)
    assert status == 404 and page.asked == 0


async def test_what_is_no_http_request_passes_untouched():
    page = Page(public=True)
    _, headers = await page.get(kind="lifespan")
    assert headers == [("x-own", "kept")] and page.seen == []


# ---------------------------------------------------------------- presence
async def test_a_page_is_there_as_long_as_its_heartbeat():
    page = Page(public=True)
    await page.get("/gradio_api/heartbeat/h", cookie=f"{COOKIE}={page.visitors.signed(TOKEN)}")
    assert page.sessions.told == ["+h", "-h"] and page.owners.told == [f"+visitor:{TOKEN}", f"-visitor:{TOKEN}"]


async def test_a_page_whose_connection_breaks_has_left_too():
    page = Page(public=False, fails=True)
    with pytest.raises(ConnectionResetError):
        await page.get("/gradio_api/heartbeat/h")
    assert page.sessions.told == ["+h", "-h"] and page.owners.told == ["+local", "-local"]


@pytest.mark.parametrize("size", [0, 10, 11, 25])
async def test_a_long_response_is_sent_in_pieces_so_that_others_have_a_turn(monkeypatch, size):
    monkeypatch.setattr("ui.visitor.AT_ONCE_BYTES", 10)
    body, sent = bytes(range(size)), []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def send(message):
        sent.append(message)

    page = PageHeaders(app, visitors=visitors(public=False), on_page=lambda owner: None, sessions=(), owners=())
    await page({"type": "http", "path": "/x", "headers": []}, None, send)
    pieces = sent[1:]
    assert b"".join(piece["body"] for piece in pieces) == body and max(len(piece["body"]) for piece in pieces) <= 10
    assert [piece.get("more_body", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
