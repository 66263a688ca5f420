"""Where the files of a source may lie inside of a folder that is written anew.

A name mirrors the path that the source gives, as far as that stays inside of the folder. What
would leave it (absolute paths, `..`) goes below `outside/`, and so does a file whose name is taken.
Names that differ only in case, or in how accents are spelled, are one: to some file systems they
are, and there the second file would be written over the first.
"""

import hashlib
import posixpath
import unicodedata
from pathlib import Path, PurePosixPath

from vsalt.durable import temporary_name

OUTSIDE = "outside"
# The longest name of a file on the usual file systems, in bytes.
_MAX_NAME_BYTES = 255


class OutputNames:
    """Gives every file of a source its name inside of a folder; the same for the same order.

    Args:
        reserved: names at the top of the folder that its owner needs.
    """

    def __init__(self, reserved: frozenset[str] = frozenset()) -> None:
        written = {temporary_name(Path(name)).name for name in reserved}
        self._reserved = frozenset(map(_folded, reserved | written))
        self._files: set[str] = set()
        self._folders: set[str] = {OUTSIDE}

    def assign(self, relative_path: str, suffix: str | None = None) -> str:
        """Return a free name, relative to the folder, with forward slashes.

        Args:
            relative_path: the path as the source names it; any text.
            suffix: what the name must end in, such as ".mp4"; it is added where another is found.
        """
        name = _with_suffix(_inside(relative_path), suffix)
        attempt = 0
        while not self._free(name):
            attempt += 1
            place = f"{OUTSIDE}/{_digest(f'{attempt} {relative_path}')}"
            name = f"{place}/{posixpath.basename(name)}"
        self._files.add(_folded(name))
        self._folders.update(map(str, PurePosixPath(_folded(name)).parents))
        return name

    def _free(self, name: str) -> bool:
        folded = _folded(name)
        parents = PurePosixPath(folded).parents
        return (
            folded.split("/", 1)[0] not in self._reserved
            and folded not in self._files
            and folded not in self._folders
            and not any(str(parent) in self._files for parent in parents)
        )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def _inside(relative_path: str) -> str:
    """Return the path in its simplest form, or one below `outside/` where it would lead out."""
    # A backslash or a drive's colon leads nowhere here, and a null byte can be in no name.
    plain = posixpath.normpath(relative_path.replace("\0", "_"))
    if plain.startswith(("/", "../")) or plain == "..":
        folder, name = posixpath.split(plain)
        return f"{OUTSIDE}/{_digest(folder)}/{'_' if name in ('', '..') else name}"
    return "_" if plain == "." else plain


def _with_suffix(name: str, suffix: str | None) -> str:
    if suffix is not None and PurePosixPath(name).suffix.lower() != suffix:
        name += suffix
    return "/".join(_short_part(part) for part in name.split("/"))


def _short_part(part: str) -> str:
    if len(_bytes(part)) <= _MAX_NAME_BYTES:
        return part
    stem, ending = posixpath.splitext(part)
    tail = f"-{_digest(part)}{ending if len(_bytes(ending)) < 16 else ''}"
    room = _MAX_NAME_BYTES - len(_bytes(tail))
    return _bytes(stem)[:room].decode("utf-8", "ignore") + tail


def _digest(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()[:12]


def _bytes(text: str) -> bytes:
    # Names that are not UTF-8 hold lone surrogates.
    return text.encode("utf-8", "surrogatepass")
