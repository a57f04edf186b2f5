"""Files of visitors: how many, how large, whose, and when they go."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from starlette.formparsers import MultiPartException

from tests.ui.tab import until
from ui.uploads import MAX_BYTES, MAX_FILES, MAX_FILES_PER_ADDRESS, BoundedUploads, UploadedFiles


class Host:
    """The middleware around an app that stores files as gradio does: by their contents."""

    def __init__(self, folder: Path, *, bounded: bool = True) -> None:
        self.folder = folder
        self.files = UploadedFiles(bounded=bounded, left_grace_s=0.0)
        self.app = BoundedUploads(
            self._app, files=self.files, owner_of=lambda scope: scope["owner"], address_of=lambda scope: scope["address"]
        )

    async def _app(self, scope, receive, send) -> None:
        assert b"accept-encoding" not in dict(scope["headers"])
        body, more = b"", True
        try:
            while more:
                message = await receive()
                body, more = body + message["body"], message["more_body"]
        except MultiPartException as error:
            await send({"type": "http.response.start", "status": 413 if "maximum allowed size" in error.message else 400, "headers": []})
            return await send({"type": "http.response.body", "body": error.message.encode()})
        paths = []
        for content in body.split(b"--cut")[1:-1]:
            path = self.folder / content.hex()[:60] / "file.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            paths.append(str(path))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(paths).encode()})

    async def upload(
        self,
        *contents: bytes,
        owner: str | None = "me",
        address: str = "203.0.113.5",
        kind: str = 'multipart/form-data; boundary="cut"',
        piece: int = 10**9,
        whole: bool = True,
    ) -> tuple[int, str]:
        body = b"".join(b"--cut" + content for content in contents) + b"--cut--"
        pieces = [body[start : start + piece] for start in range(0, len(body), piece)]
        left = [{"type": "http.request", "body": part, "more_body": not whole or n + 1 < len(pieces)} for n, part in enumerate(pieces)]
        sent = []

        async def receive():
            return left.pop(0) if left else {"type": "http.disconnect"}

        async def send(message) -> None:
            sent.append(message)

        headers = [(b"content-type", kind.encode()), (b"accept-encoding", b"br")]
        await self.app(
            {"type": "http", "method": "POST", "path": "/gradio_api/upload", "owner": owner, "address": address, "headers": headers},
            receive,
            send,
        )
        return sent[0]["status"], sent[1]["body"].decode()

    def there(self) -> int:
        return len(list(self.folder.glob("*/*")))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def some(number: int, start: int = 0) -> list[bytes]:
    return [b"%d" % n for n in range(start, start + number)]


@pytest.mark.parametrize("piece", [1, 7, 10**9])
async def test_as_many_files_as_a_visitor_may_have_and_not_one_more(host, piece):
    host.files.arrive("me")
    assert (await host.upload(*some(MAX_FILES), piece=piece))[0] == 200
    status, why = await host.upload(b"one more", piece=piece)
    assert status == 413 and str(MAX_FILES) in why and host.there() == MAX_FILES
    assert (await host.upload(b"another's", owner="you"))[0] == 200


async def test_too_many_in_one_request_are_too_many(host):
    assert (await host.upload(*some(MAX_FILES + 1)))[0] == 413
    assert (await host.upload(*some(MAX_FILES)))[0] == 200  # nothing of the refused one is counted


async def test_as_many_bytes_as_a_visitor_may_have_and_not_one_more(host, monkeypatch):
    monkeypatch.setattr("ui.uploads.MAX_BYTES", 1000)
    host.files.arrive("me")
    overhead = len(b"--cut--cut--")
    assert (await host.upload(b"x" * (1001 - overhead)))[0] == 413
    assert (await host.upload(b"x" * (1000 - overhead)))[0] == 200
    assert host.files.room("me")[1] == overhead  # what was around the file is given back
    assert (await host.upload(b"y"))[0] == 413


async def test_uploads_under_way_count_and_are_given_back(host):
    host.files.coming("me", MAX_FILES - 1, 0)
    assert (await host.upload(*some(2)))[0] == 413
    assert (await host.upload(*some(1)))[0] == 200
    host.files.coming("me", 1 - MAX_FILES, 0)
    assert host.files.room("me")[0] == MAX_FILES - 1


async def test_an_upload_that_breaks_off_keeps_nothing_and_counts_for_nothing(host):
    status, why = await host.upload(*some(3), whole=False)
    assert status == 400 and "broken off" in why and host.there() == 0
    assert host.files.room("me") == (MAX_FILES, MAX_BYTES)


async def test_who_has_not_opened_the_page_uploads_nothing(host):
    status, why = await host.upload(b"x", owner=None)
    assert status == 403 and "Open the page" in why and host.there() == 0


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "", "multipart/form-data; boundary=", 'text/plain; boundary="cut"'])
async def test_what_holds_no_files_is_refused(host, kind):
    assert (await host.upload(b"x", kind=kind))[0] == 415


async def test_another_boundary_beside_the_real_one_hides_no_file(host):
    status, _ = await host.upload(*some(MAX_FILES + 1), kind='multipart/form-data; x="boundary=other"; boundary=cut')
    assert status == 413 and host.there() == 0


async def test_an_address_has_a_budget_however_many_cookies_it_takes(host):
    for n in range(MAX_FILES_PER_ADDRESS // MAX_FILES):
        host.files.arrive(f"visitor {n}")
        assert (await host.upload(*some(MAX_FILES, MAX_FILES * n), owner=f"visitor {n}"))[0] == 200
    assert (await host.upload(b"one more", owner="another cookie"))[0] == 413
    assert (await host.upload(b"one more", owner="elsewhere", address="203.0.113.6"))[0] == 200
    host.files.leave("visitor 0")
    await until(lambda: "visitor 0" not in host.files._files)
    assert (await host.upload(b"one more", owner="another cookie"))[0] == 200


async def test_the_disk_has_a_budget_whoever_they_are(host, monkeypatch):
    monkeypatch.setattr("ui.uploads.MAX_BYTES_OF_ALL", 100)
    host.files.arrive("me")
    assert (await host.upload(b"x" * 50))[0] == 200
    assert (await host.upload(b"x" * 60, owner="you", address="203.0.113.6"))[0] == 413


async def test_files_go_with_their_visitor_and_not_while_a_page_is_open(host):
    host.files.arrive("me"), host.files.arrive("me")
    await host.upload(*some(3))
    host.files.leave("me")
    await asyncio.sleep(0)
    assert host.there() == 3
    host.files.leave("me")
    await until(lambda: host.there() == 0)
    assert host.files.room("me") == (MAX_FILES, MAX_BYTES) and not list(host.folder.iterdir())


async def test_a_page_that_is_reloaded_keeps_them(host):
    host.files = UploadedFiles(bounded=True, left_grace_s=3600.0)
    host.app._files = host.files
    host.files.arrive("me")
    await host.upload(*some(2))
    host.files.leave("me")
    assert host.files._leaving
    host.files.arrive("me")
    assert not host.files._leaving and host.there() == 2


async def test_files_of_somebody_whose_page_never_opens_go_too(host):
    await host.upload(*some(2))
    await until(lambda: host.there() == 0)


async def test_a_file_that_two_have_goes_with_the_second(host):
    for owner in ("me", "you"):
        host.files.arrive(owner)
        await host.upload(b"the same", owner=owner)
    host.files.leave("me")
    await until(lambda: "me" not in host.files._files)
    assert host.there() == 1
    host.files.leave("you")
    await until(lambda: host.there() == 0)


async def test_the_owner_of_a_machine_has_no_budget(tmp_path):
    host = Host(tmp_path, bounded=False)
    host.files.arrive("local")
    assert (await host.upload(*some(MAX_FILES + 1), owner="local"))[0] == 200
