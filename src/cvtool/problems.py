"""What is wrong with single pictures of a data set, and the error that carries all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cvtool.errors import BadInputError
from cvtool.files import shown


@dataclass(frozen=True)
class Problem:
    """Why a picture, or a line of a file, cannot be used.

    Attributes:
        name: of the picture in its data set; of a file and line where no picture could be told.
        what: the rest of the sentence, e.g. ``"is truncated or broken: …"``.
    """

    name: str
    what: str

    @classmethod
    def of(cls, name: str, error: Exception) -> Problem:
        """What an error says of a picture, which many begin with its name."""
        said, named = str(error), f"'{shown(name)}' "
        return cls(name, said.removeprefix(named) if said.startswith(named) else f"cannot be used: {said}")

    def __str__(self) -> str:
        return f"'{shown(self.name)}' {shown(self.what)}"


class BadPicturesError(BadInputError):
    """Some pictures cannot be used.

    Attributes:
        problems: all of them; as text, each says which picture and why.
    """

    def __init__(self, message: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(message)
