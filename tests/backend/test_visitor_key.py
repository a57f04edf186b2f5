"""The key of visitors' cookies."""

from __future__ import annotations

import os

from backend.visitor_key import KEY_BYTES, visitor_key


def test_it_is_made_once_and_is_its_owners_alone(tmp_path):
    data = tmp_path / "data"
    key = visitor_key(data)
    assert len(key) == KEY_BYTES and visitor_key(data) == key
    assert [path.name for path in data.iterdir()] == ["visitor.key"]
    if os.name == "posix":
        assert (data / "visitor.key").stat().st_mode & 0o777 == 0o600 and data.stat().st_mode & 0o777 == 0o700


def test_two_hosts_have_two(tmp_path):
    assert visitor_key(tmp_path / "a") != visitor_key(tmp_path / "b")


def test_a_file_that_is_no_key_is_replaced(tmp_path):
    (tmp_path / "visitor.key").write_bytes(b"short")
    key = visitor_key(tmp_path)
    assert len(key) == KEY_BYTES and visitor_key(tmp_path) == key


def test_where_nothing_can_be_written_it_lives_as_long_as_the_process(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert len(visitor_key(tmp_path / "file" / "data")) == KEY_BYTES
    assert "not kept" in caplog.text
