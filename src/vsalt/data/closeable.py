"""What a `with` block closes."""

from types import TracebackType
from typing import TypeVar

Self = TypeVar("Self", bound="Closeable")


class Closeable:
    """A context manager that is closed at the end of its block, also after an error."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what is held; by default nothing is."""
