"""What is a URL, and what a path means beside one."""

from pathlib import Path

import pytest

from vsalt.data import urls
from vsalt.errors import DataError


@pytest.mark.parametrize(
    "name", ["http://host/a.mp4", "s3://bucket/a b.mp4", "memory://a.csv", "gs+x.1://b/c"]
)
def test_urls_begin_with_a_protocol(name: str) -> None:
    assert urls.is_url(name)
    assert urls.location(name) == name


@pytest.mark.parametrize("name", ["videos/a.mp4", "/a://b", "a/b://c.mp4", "1://x", "a:b", "c:/d"])
def test_all_else_is_a_path(name: str) -> None:
    assert not urls.is_url(name)
    assert urls.location(name) == Path(name)


def test_a_url_of_a_local_file_is_refused() -> None:
    for name in ("file:///etc/passwd", "LOCAL://videos/a.mp4"):
        with pytest.raises(DataError, match="give its path alone"):
            urls.location(name)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://[x/a.mp4", "Invalid IPv6 URL"),
        ("https://host:http/a.mp4", "Port could not be cast"),
        ("http://host:99999/a.mp4", "Port out of range"),
        ("http:///a.mp4", "it names no host"),
    ],
)
def test_a_malformed_url_is_refused(url: str, problem: str) -> None:
    with pytest.raises(DataError, match=rf"is no valid URL \({problem}.*\); write https?://HOST"):
        urls.location(url)


def test_brackets_and_ports_may_be_right() -> None:
    for url in ("http://[::1]:8000/a.mp4", "http://host/a[1].mp4", "s3://bucket/[x/a.mp4"):
        assert urls.location(url) == url


@pytest.mark.parametrize(
    ("base", "name", "whole"),
    [
        ("http://host/sets", "videos/a.mp4", "http://host/sets/videos/a.mp4"),
        ("http://host", "a.mp4", "http://host/a.mp4"),
        ("http://host/sets", "../a.mp4", "http://host/a.mp4"),
        ("http://host/sets", "50 % #1?.mp4", "http://host/sets/50%20%25%20%231%3F.mp4"),
        ("s3://bucket/sets", "./b/../50 % #1?.mp4", "s3://bucket/sets/50 % #1?.mp4"),
        ("s3://bucket", "../a.mp4", None),
        ("http://host/sets", "../../a.mp4", None),
        ("http://host/sets", "/etc/passwd", None),
    ],
)
def test_paths_are_relative_to_a_folder(base: str, name: str, whole: str | None) -> None:
    assert urls.join(base, name) == whole


def test_parts_of_a_url() -> None:
    signed = "https://user:word@host:8/sets/Labels.CSV?sig=a/b.mp4#top"
    assert urls.suffix(signed) == ".csv"
    assert urls.folder(signed) == "https://user:word@host:8/sets"
    assert urls.server(signed) == "https://host:8"
    assert urls.server("https://user:word@host:8?sig=a@b") == "https://host:8"
    assert urls.base_name(signed) == "Labels.CSV"
    assert urls.base_name("s3://bucket/shards/") == urls.base_name("a/shards") == "shards"
    assert urls.path_part("http://host/a%20b.mp4") == "/a b.mp4"
    # A question mark is part of a name there.
    assert urls.suffix("s3://bucket/what?.mp4") == ".mp4"
    assert urls.folder("memory://labels.csv") == "memory://"
    assert urls.suffix("local/a.MP4") == ".mp4"
