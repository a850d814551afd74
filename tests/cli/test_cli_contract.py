"""What users and scripts rely on: commands, options, their words and defaults, typed by hand; more may be added."""

from __future__ import annotations

import pytest
from parsing import COMMANDS, parse

from cvtool.fool.options import Method

ONE = "stylize a.jpg b.jpg"
WORDS = (  # of x|y|z the first is in the first line, the second in the next …
    "stylize a.jpg b.jpg c.jpg --style-weight 2 --style-weight 1 --strength 0|50.5|100 --size 256 --steps 30",
    f"{ONE} --optimizer adam|lbfgs --preserve-colors none|luminance|match --recipe default|gatys|cs231n",
    f"{ONE} --init content|noise|style-stats|start.png --animate x.gif|x.mp4|x.webp --tile auto|512|off",
    f"{ONE} --style-scale 2 --mask a.png=b.png --tv 0.1 --budget 60s --max-memory 4GB",
    f"{ONE} --checkpoint x.safetensors --resume x.safetensors",
    "stylize a.mp4 b.jpg --video",
    "stylize --style b.jpg --style c.jpg a.jpg d.jpg",
    "saliency a.jpg b.jpg --method all|gradient --method grad-cam --target tabby --top-k 3 --evaluate",
    "saliency a.jpg --view overlay|heatmap|panel|masked --raw x.npy|x.h5",
    "fool a.jpg b.jpg --target tabby --method ascent|fgsm|pgd|deepfool|cw|fmn --norm linf|l2 --eps 8/255 --steps 9",
    "fool a.jpg --untargeted --confidence 0.9 --minimize --view panel|image|difference",
    "fool --from-noise --target 281 --transfer-to vgg16 --transfer-to squeezenet1_1",
    "visualize-class tabby 130 --method cs231n|fourier|maco --size 128 --steps 9 --init a.jpg --animate x.gif",
    "visualize-class --layer blocks.2 --channel 3 --sheet x.png --diversity 3",
    "visualize-class tabby --ensemble vgg16 --ensemble resnet50 --judge vgg16 --judge resnet50",
    "caption describe a.jpg b.jpg --checkpoint x.safetensors --decode greedy|beam|sample --beam 3 --attention x.png",
    "caption describe a.jpg --temperature 0.7 --top-p 0.9",
    "caption train --data folder:set --cell rnn|lstm|gru --attention|--no-attention -o run",
    "caption train --data folder:set -o run --resume|--overwrite --skip-bad",
    "caption evaluate --checkpoint x.safetensors --data folder:set --split dev",
    "caption features --data folder:set -o x.h5",
    "gan train --data folder:set --arch mlp|dcgan|resnet --loss bce|lsgan|wgan|wgan-gp|hinge|r3gan -o run",
    "gan train --data fashion-mnist --vae -o run --resume|--overwrite --skip-bad",
    "gan sample --checkpoint x.safetensors -n 64 --label hat --grid|--files --truncation 0.7",
    "gan interpolate --checkpoint x.safetensors --frames 9 --animate x.gif",
    "gan evaluate --checkpoint x.safetensors --data folder:set",
    "models",
    "classes",
    "classes cat",
    "info a.png b.png",
)
PICTURES = ("stylize", "saliency", "fool", "visualize-class", "caption describe", "gan sample", "gan interpolate")
ASKED = ("stylize", "saliency", "fool", "visualize-class", "caption train", "caption features")
COMPUTING = tuple(dict.fromkeys((*PICTURES, *ASKED, "caption evaluate", "gan train", "gan evaluate")))
NOT_RANDOM = ("caption features",)
DEFAULTS = {
    "saliency": {"top_k": 5, "model": "efficientnet-lite0"},
    "fool": {"model": "efficientnet-lite0"},
    "caption describe": {"beam": 5},
    "caption train": {"model": "efficientnet-lite0"},
    "caption features": {"model": "efficientnet-lite0"},
    "caption evaluate": {"split": "test"},
    "gan sample": {"grid": True},
}
NEEDED = {  # what a command does not start without
    "stylize": "a.jpg b.jpg",
    "stylize train-instant": "--content a --styles b -o run",
    "saliency": "a.jpg",
    "fool": "a.jpg",
    "visualize-class": "tabby",
    "caption describe": "a.jpg",
    "caption train": "--data a -o run",
    "caption evaluate": "--data a",
    "caption features": "--data a -o x.h5",
    "gan train": "--data a -o run",
    "gan invert": "a.jpg",
    "gan evaluate": "--data a",
    "gan export": "-o x.pt",
}


def spelled(line: str) -> list[list[str]]:
    """The command lines that a line with alternatives stands for; each alternative is in one of them."""
    choices = [word.split("|") for word in line.split()]
    return [[each[min(number, len(each) - 1)] for each in choices] for number in range(max(map(len, choices)))]


def bare(command: str) -> list[str]:
    """The command with no more than it needs."""
    return [*command.split(), *NEEDED.get(command, "").split()]


@pytest.mark.parametrize("line", WORDS)
def test_every_word_is_taken(line: str) -> None:
    for words in spelled(line):
        parse(words)


def test_methods_that_are_looked_up_later() -> None:
    assert {method.value for method in Method} >= {"ascent", "fgsm", "pgd", "deepfool", "cw", "fmn"}


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if not hasattr(command, "commands")])
def test_what_every_command_has(command: str) -> None:
    found = parse([*bare(command), "--json", "-q", "-v", "--debug"])
    assert [found[name] for name in ("json", "quiet", "verbose", "debug")] == [True] * 4
    found = parse([*bare(command), "--quiet"])
    assert [found[name] for name in ("json", "quiet", "verbose", "debug")] == [False, True, False, False]


@pytest.mark.parametrize("command", COMPUTING)
def test_what_every_command_that_computes_has(command: str) -> None:
    for words in spelled("--device auto|cpu|cuda|cuda:1|mps --precision auto|fp32|bf16|fp16"):
        found = parse([*bare(command), *words])
        assert (found["device"], found["precision"]) == (words[1], words[3])
    found = parse(bare(command))
    assert found["device"] == "auto"
    if command not in NOT_RANDOM:
        assert found["seed"] == 0
        assert parse([*bare(command), "--seed", "7"])["seed"] == 7


@pytest.mark.parametrize("command", PICTURES)
def test_what_every_command_that_makes_pictures_has(command: str) -> None:
    for words in spelled("-o|--output x --format png|jpg|webp|tiff"):
        found = parse([*bare(command), *words])
        assert (str(found["output"]), found["format"]) == ("x", words[3])


@pytest.mark.parametrize("command", ASKED)
def test_what_every_command_that_asks_a_network_has(command: str) -> None:
    found = parse([*bare(command), "--model", "timm:resnet18", "--weights", "x.pth"])
    assert (found["model"], str(found["weights"])) == ("timm:resnet18", "x.pth")


@pytest.mark.parametrize("command", DEFAULTS)
def test_defaults(command: str) -> None:
    found = parse(bare(command))
    assert {name: found[name] for name in DEFAULTS[command]} == DEFAULTS[command]


@pytest.mark.parametrize("command", ["stylize", "saliency", "fool", "caption describe"])
def test_folders_are_read_with_all_below(command: str) -> None:
    assert parse([*bare(command), "--recursive"])["recursive"] is True
