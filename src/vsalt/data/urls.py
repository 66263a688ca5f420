"""Names of files behind a URL: what is one, its parts, and paths that are relative to one.

A URL is `PROTOCOL://…` with any protocol that fsspec knows, such as https, s3, gs or memory. Text
that does not begin so is a path of the local file system, and so is file://…, which is refused.
"""

import os
import posixpath
import re
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote, unquote, urlsplit

from vsalt.errors import DataError

Location: TypeAlias = Path | str
"""A path of the local file system, or a URL as text; see `location`."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_LOCAL = frozenset(("file", "local"))
# Of others, such as object stores, a question mark is part of the name.
_WITH_QUERY = frozenset(("http", "https"))
_PLAIN = "/!$&'()*+,;=:@~"


def is_url(name: object) -> bool:
    """Return whether a name is a URL."""
    return isinstance(name, str) and "://" in name and _URL.match(name) is not None


def protocol(url: str) -> str:
    """Return what stands before ://, in lower case."""
    return url.partition("://")[0].lower()


def server(url: str) -> str:
    """Return protocol and host, or bucket."""
    begin, _, rest = url.partition("://")
    return f"{begin}://{re.split('[/?#]', rest, maxsplit=1)[0].rpartition('@')[2]}"


def location(name: str | os.PathLike[str]) -> Location:
    """Return a URL as text, and all else as a path.

    Raises:
        DataError: the URL is one of a local file, or is malformed.
    """
    text = os.fspath(name)
    if not is_url(text):
        return Path(text)
    if protocol(text) in _LOCAL:
        raise DataError(f"{text} names a local file; give its path alone")
    problem = _malformed(text)
    if problem:
        raise DataError(
            f"{text} is no valid URL ({problem}); write {protocol(text)}://HOST/PATH or "
            f"{protocol(text)}://HOST:PORT/PATH, with an IPv6 address in brackets"
        )
    return text


def _malformed(url: str) -> str:
    """Return what is wrong with a URL, nothing if nothing is; names of object stores are free."""
    if protocol(url) not in _WITH_QUERY:
        return ""
    try:
        parts = urlsplit(url)
        # The port is looked at only when it is asked for.
        _ = parts.port
    except ValueError as error:
        return str(error)
    return "" if parts.hostname else "it names no host"


def path_part(name: str) -> str:
    """Return a path as it is, and of a URL its path; a query or fragment of http is left out."""
    if not is_url(name):
        return name
    if protocol(name) in _WITH_QUERY:
        return unquote(urlsplit(name).path)
    return name.partition("://")[2]


def base_name(name: str) -> str:
    """Return the last part of a path or of a URL's path: nothing that a URL holds besides."""
    return posixpath.basename(path_part(name).rstrip("/"))


def suffix(name: str) -> str:
    """Return the end of a file's name from its last dot on, in lower case."""
    return posixpath.splitext(path_part(name))[1].lower()


def folder(url: str) -> str:
    """Return the URL of the folder that a file lies in, without a slash at its end.

    A query, such as the signature of one file, does not hold for its neighbours and is left out.
    """
    if protocol(url) in _WITH_QUERY:
        url = urlsplit(url)._replace(query="", fragment="").geturl()
    begin, _, rest = url.partition("://")
    return f"{begin}://{posixpath.dirname(rest)}"


def join(base: str, name: str) -> str | None:
    """Return the URL of a path that is relative to a folder's URL; None if it leads out of all.

    Args:
        base: URL of the folder, as `folder` gives it.
        name: a path with forward slashes, as a local file has it; for http, characters that mean
            something else in a URL are escaped.

    Example:
        >>> join("s3://bucket/sets", "../videos/a.mp4")
        's3://bucket/videos/a.mp4'
    """
    begin, _, rest = base.partition("://")
    host, _, path = rest.partition("/")
    if name.startswith("/"):
        return None
    if protocol(base) in _WITH_QUERY:
        name = quote(name, safe=_PLAIN, errors="surrogateescape")
    # Where there is no host, the first part is a folder like others.
    whole = posixpath.normpath(posixpath.join(path, name))
    if whole == ".." or whole.startswith("../"):
        return None
    return f"{begin}://{host}/{whole}"
