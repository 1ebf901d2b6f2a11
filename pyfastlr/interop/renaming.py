"""Errors of pyfastlr with another library's names of the arguments."""

from collections.abc import Mapping


class renamed:  # contextlib's, from a generator, would take 1 us more
    """Context in which an error of ours gets their names of the arguments, given by ours. Others stay as they are."""

    __slots__ = ("names",)

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if kind not in (TypeError, ValueError) or error is None:
            return
        before = text = str(error)
        for name, other in self.names.items():
            text = text.replace(f"`{name}`", f"`{other}`")
        if text != before:
            raise kind(text) from None
