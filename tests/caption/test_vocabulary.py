"""Tokens as Stanford's tokenizer makes them, and the numbers of words."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvtool.caption.vocabulary import END, NULL, SPECIALS, START, UNKNOWN, Vocabulary, tokenize
from cvtool.errors import BadInputError, UsageError

# What `edu.stanford.nlp.process.PTBTokenizer -preserveLines -lowerCase` (CoreNLP 3.4.1) said, without the punctuation
# that pycocoevalcap removes.
STANFORD = {
    "A black dog is running after a white dog in the snow .": "a black dog is running after a white dog in the snow",
    "A man is in a kitchen making pizzas.": "a man is in a kitchen making pizzas",
    "I can't, won't, don't, they'll, we've, I'd, I'm, dogs' toys.": (
        "i ca n't wo n't do n't they 'll we 've i 'd i 'm dogs toys"
    ),
    "A man's, woman's; child's. it's its": "a man 's woman 's child 's it 's its",
    "cannot gonna gotta wanna gimme lemme 'tis 'twas": "can not gon na got ta wan na gim me lem me 't is 't was",
    "The girl 's hat and the dogs ' ball": "the girl 's hat and the dogs ball",
    "Mr. Smith, Mrs. Jones, Dr. Who and St. Bernard vs. the U.S. team in Washington D.C.": (
        "mr. smith mrs. jones dr. who and st. bernard vs. the u.s. team in washington d.c."
    ),
    "A t-shirt, a black-and-white dog, a 3-year-old boy, 2-3 people, mother-in-law.": (
        "a t-shirt a black-and-white dog a 3-year-old boy 2-3 people mother-in-law"
    ),
    "Three girls/women and/or boys in 1,000 ft. of 3.5 m.": "three girls/women and/or boys in 1,000 ft. of 3.5 m.",
    "A boy in the '90s and 80's wearing size 10.": "a boy in the '90s and 80 's wearing size 10",
    "at 10:30 -- or 10%, maybe #1 with $5.00": "at 10:30 or 10 % maybe # 1 with $ 5.00",
    "A red... dog... and -- wait - a dash.": "a red dog and wait a dash",
    "“Curly” ‘quotes’ don’t": "curly quotes do n't",
    "Café naïve façade": "café naïve façade",
    "A no. 5 jersey; he said no.": "a no. 5 jersey he said no",
    "Two dogs,one cat;three birds:four fish": "two dogs one cat three birds four fish",
    "o'clock O'Neil": "o'clock o'neil",
    "a slip 'n' slide": "a slip 'n' slide",
    "½ cup": "1/2 cup",
    "A & B": "a & b",
    "On the ave. in the sun.": "on the ave. in the sun",
    "me@example.com at www.example.com.": "me@example.com at www.example.com",
}


@pytest.mark.parametrize("text", STANFORD)
def test_tokens_are_those_of_stanford(text: str):
    assert " ".join(tokenize(text)) == STANFORD[text]


def test_where_it_differs_on_purpose():
    assert tokenize("A man (left) [right] <there>!!!") == ["a", "man", "left", "right", "there"]
    assert tokenize("a * b ~ £5") == ["a", "b", "£", "5"]


@pytest.mark.shared
def test_all_captions_of_flickr8k_against_stanford(shared_data: Path, tmp_path: Path):
    package = importlib.util.find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations or shutil.which("java") is None:
        pytest.skip("needs pycocoevalcap and Java")
    jar = Path(next(iter(package.submodule_search_locations))) / "tokenizer" / "stanford-corenlp-3.4.1.jar"
    lines = (shared_data / "flickr8k/Flickr8k.token.txt").read_text("utf-8").splitlines()
    captions = [line.split("\t")[1] for line in lines]
    source = tmp_path / "captions.txt"
    source.write_text("\n".join(captions) + "\n", "utf-8")
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    said = subprocess.run([*command, str(source)], capture_output=True, check=True, text=True).stdout.splitlines()
    dropped = {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";", "-lrb-", "-rrb-", "-lcb-", "-rcb-"}
    expected = [[word for word in line.split() if word not in dropped] for line in said]
    assert len(expected) == len(captions) > 30000
    assert [tokenize(caption) for caption in captions] == expected


@given(st.text(max_size=200))
def test_tokens_are_words(text: str):
    for token in tokenize(text):
        assert token.split() == [token]
        assert any(character.isalnum() or character in "&$%#@+=£€¥¢°'" for character in token)


@given(st.lists(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8), max_size=10))
def test_plain_words_stay(words: list[str]):
    welded = {"cannot", "gonna", "gotta", "wanna", "gimme", "lemme"}
    words = [word for word in words if word not in welded]
    assert tokenize(" ".join(words)) == words


@pytest.mark.parametrize("piece", ["1,", "a.", "'", "-", "n't", "a'", "1:1a", "#a"])
def test_hostile_captions_take_no_longer_than_they_should(piece: str):
    start = time.process_time()
    tokenize(piece * 2000)
    assert time.process_time() - start < 1


def test_building_counts_words_and_breaks_ties_by_the_alphabet():
    captions = [["d", "<END>"], ["b", "a", "c"], ["b", "a"], ["d", "b"]]
    vocabulary = Vocabulary.build(captions, 2)
    assert vocabulary.words == (*SPECIALS, "b", "a", "d")
    assert len(vocabulary) == 7
    with pytest.raises(UsageError, match="threshold"):
        Vocabulary.build(captions, 0)


def test_encoding_and_decoding():
    vocabulary = Vocabulary((*SPECIALS, "a", "dog", "runs"))
    numbers = vocabulary.encode(["a", "dog", "swims"], 20)
    assert numbers.dtype == np.int64
    assert numbers.tolist() == [START, 4, 5, UNKNOWN, END]
    assert vocabulary.encode(["a", "dog", "runs"], 2).tolist() == [START, 4, 5, END]
    assert vocabulary.encode([], 2).tolist() == [START, END]
    assert vocabulary.decode([START, 4, NULL, 5, END, 6]) == "a dog"
    assert vocabulary.decode(np.array([4, UNKNOWN])) == "a <UNK>"
    for number in (7, -1):
        with pytest.raises(UsageError, match="No word"):
            vocabulary.decode([number])


@pytest.mark.parametrize("words", [(), ("a", "b"), (*SPECIALS, "a", "a"), SPECIALS[::-1]])
def test_what_is_no_vocabulary(words: tuple[str, ...]):
    with pytest.raises(BadInputError):
        Vocabulary(words)
