"""The errors that vsalt raises on purpose, and how configuration mistakes are reported together.

Every message says what was given, what is allowed and which flag mends it. A `VsaltError` is
shown to the user without a traceback; anything else is a defect of vsalt.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


def printable(text: str) -> str:
    r"""Return text from the disk, such as a file's name, as it may be shown on a terminal.

    Characters that Python does not call printable become escapes: line ends and other control
    characters, marks that change the direction of text, lone surrogates (bytes of a name that are
    not UTF-8). All others stay, backslashes too, so that nothing is escaped twice.

    Example:
        >>> print(printable("red\x1b[31m.mp4"))
        red\x1b[31m.mp4
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


class VsaltError(Exception):
    """Base of all errors whose message is written for the user."""


class ConfigError(VsaltError):
    """One or more settings are wrong; `problems` holds one sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = list(problems)
        head = (
            "1 setting is wrong:" if len(problems) == 1 else f"{len(problems)} settings are wrong:"
        )
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in problems)]))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[list[str]]]:
        """Pickle the problems, not the message that is made of them."""
        return type(self), (self.problems,)


class DataError(VsaltError):
    """A source, manifest or split cannot be used."""


class DecodeError(DataError):
    """One video file cannot be read; the run may replace it by another clip.

    Its message is one printable line, as it holds the file's name and what a library says of it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class DecodeTimeoutError(DecodeError):
    """Reading one video took longer than allowed; on another day it might not."""


class WeightsError(VsaltError):
    """Weights do not fit the model, or no encoder can be found at a path."""


class InteropError(VsaltError):
    """Another format cannot hold a network, or its file cannot be read."""


class RunFolderError(VsaltError):
    """A run folder is missing, in use, not writable, full or of another configuration."""


class MissingExtraError(VsaltError):
    """Something needs a package of an extra that is not installed.

    Args:
        message: what needs which package.
        extra: the extra that brings it.

    Example:
        >>> str(MissingExtraError("Parquet needs pyarrow", extra="parquet"))
        "Parquet needs pyarrow: pip install 'vsalt[parquet]'"
    """

    def __init__(self, message: str, *, extra: str) -> None:
        super().__init__(f"{message}: pip install 'vsalt[{extra}]'")


class ToldElsewhereError(VsaltError):
    """Another process of the run ends by the same error and says why; this one says nothing.

    Attributes:
        exit_code: of this process.
    """

    def __init__(self, exit_code: int = 1) -> None:
        super().__init__("process 0 of the run says why it ends")
        self.exit_code = exit_code


class NonFiniteError(VsaltError):
    """The loss or a gradient norm is not finite; the weights have not been touched by it."""


_collector: ContextVar[list[str] | None] = ContextVar("vsalt_config_problems", default=None)


def report_problems(problems: list[str]) -> None:
    """Raise `ConfigError` for these problems, or hand them to the enclosing `collect_problems`."""
    if not problems:
        return
    collected = _collector.get()
    if collected is None:
        raise ConfigError(problems)
    collected.extend(problem for problem in problems if problem not in collected)


@contextmanager
def ignore_problems() -> Iterator[None]:
    """Let configs be built with mistakes inside this block; they are checked when built again."""
    token = _collector.set([])
    try:
        yield
    finally:
        _collector.reset(token)


@contextmanager
def collect_problems() -> Iterator[None]:
    """Let configs be built with mistakes inside this block, and report all of them at its end.

    Raises:
        ConfigError: at the end of the block, with the problems of every config built in it.
    """
    collected: list[str] = []
    token = _collector.set(collected)
    try:
        yield
    finally:
        _collector.reset(token)
    if collected:
        raise ConfigError(collected)
