"""The error tree: the exit codes that scripts rely on, the way between processes, and suggestions."""

import importlib
import pickle
import re
from pathlib import Path

import pytest

from cvtool import errors
from cvtool.cli.parts import FailedElsewhere
from cvtool.problems import BadPicturesError, Problem

SOURCE = Path(errors.__file__).parents[1]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.CvtoolError, 1),
        (errors.UsageError, 2),
        (errors.UnknownNameError, 2),
        (errors.UnsuitableInputError, 2),
        (errors.BadInputError, 3),
        (errors.WeightsUnavailableError, 4),
        (errors.GoalNotReachedError, 5),
        (errors.Interrupted, 130),
    ],
)
def test_every_class_carries_its_exit_code(error: type[errors.CvtoolError], code: int) -> None:
    assert error.exit_code == code
    assert issubclass(error, errors.CvtoolError)


def test_the_docstring_draws_every_class() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.CvtoolError)]
    assert len(classes) == 8
    for one in classes:
        line = next(line for line in (errors.__doc__ or "").splitlines() if one.__name__ in line)
        assert str(one.exit_code) in line.split()


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [
        ("tabbi", ["tabby"]),
        ("TABBY", ["tabby", "tabby cat"]),
        ("espreso", ["espresso"]),
        ("missil", ["missile"]),
        ("zzzzzz", []),
        ("", []),
    ],
)
def test_nearest_names(wanted: str, nearest: list[str]) -> None:
    known = ["tabby", "tabby cat", "tiger cat", "espresso", "missile"]
    assert errors.nearest_names(wanted, known)[: len(nearest)] == nearest
    assert (errors.nearest_names(wanted, known) == []) == (nearest == [])


def test_nearest_names_keeps_the_count_and_the_spelling() -> None:
    known = ["VGG11", "VGG13", "VGG16", "ResNet50"]
    found = errors.nearest_names("vgg", known, count=2)
    assert len(found) == 2
    assert set(found) < set(known[:3])


def test_names_that_contain_what_was_asked_for_are_near() -> None:
    known = ["tabby, a rather long name of a cat", "espresso"]
    assert errors.nearest_names("cat", known) == known[:1]


def test_unknown_name_says_what_where_and_what_next() -> None:
    error = errors.UnknownNameError("class", "tabbi", ["tabby", "espresso"], "'cvtool classes' lists them.")
    assert str(error) == "No class 'tabbi'. Nearest: tabby. 'cvtool classes' lists them."
    assert error.nearest == ["tabby"]
    assert str(errors.UnknownNameError("class", "zzzz", ["tabby"])) == "No class 'zzzz'."


def every_class() -> list[type[errors.CvtoolError]]:
    """The classes of the tree, also those that modules outside of `errors` add to it."""
    for path in (SOURCE / "cvtool").rglob("*.py"):  # beside it lies all that is installed
        if re.search(r"^class \w+\(\w*(Error|Interrupted)\)", path.read_text("utf-8"), re.MULTILINE):
            importlib.import_module(".".join(path.relative_to(SOURCE).with_suffix("").parts))
    found: list[type[errors.CvtoolError]] = [errors.CvtoolError]
    for one in found:
        found += one.__subclasses__()
    return [one for one in found if one.__module__.startswith("cvtool.")]


def test_every_error_comes_whole_out_of_another_process() -> None:
    problems = [Problem("a.png", "is empty"), Problem("b.png", "is broken")]
    made: dict[type[errors.CvtoolError], errors.CvtoolError] = {
        errors.UnknownNameError: errors.UnknownNameError("layer", "conv6", iter(["conv5"]), "There are 5."),
        BadPicturesError: BadPicturesError("2 pictures cannot be used.", problems),
        FailedElsewhere: FailedElsewhere("the disk is full", 7),
    }
    classes = every_class()
    assert {*made, errors.Interrupted} < set(classes)
    assert {"CollapseError", "DivergedError"} < {one.__name__ for one in classes}
    for one in classes:
        error = made.get(one) or one("why")
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is one
        assert str(again) == str(error) != ""
        assert (again.args, again.exit_code, vars(again)) == (error.args, error.exit_code, vars(error))
