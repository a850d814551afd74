"""The recipes: which losses, weights, optimiser and number of steps make a style transfer. Data only, no torch."""

from __future__ import annotations

from dataclasses import dataclass

from cvtool.stylize.options import Init, Optimizer, Recipe


@dataclass(frozen=True)
class RecipeSpec:
    """One way to run a style transfer.

    Attributes:
        statistic: ``"moments"`` (mean and covariance, relative distance) or ``"gram"`` (squared error).
        model: the network it was published with; None leaves the choice open.
        style_layers, content_layers: layers of `model`; () asks the model's card.
        style_weights: one per style layer; () for equal ones.
        content_weight: of the feature distance at strength 50.
        structure_weight: of the self-similarity distance at strength 50.
        tv: weight of total variation.
        normalize_gram: divide Gram matrices by C·H·W.
        optimizer, rate, betas: how the picture moves; `rate` in units of the pixel range [0, 1].
        late_rate: the rate from step `late_from` of a scale on; None keeps `rate`.
        average: decay of the average over iterates; 0 takes the last one.
        steps: per scale; the first scale has `first` times as many.
        smallest: longer side of the first scale, in pixels; None optimises at the final size only.
        margin: pixels by which the picture is continued before it enters the network, so that the network's zero
            padding leaves no frame.
        init: where it starts unless told otherwise.
    """

    statistic: str
    model: str | None = None
    style_layers: tuple[str, ...] = ()
    content_layers: tuple[str, ...] = ()
    style_weights: tuple[float, ...] = ()
    content_weight: float = 0.0
    structure_weight: float = 0.0
    tv: float = 0.0
    normalize_gram: bool = True
    optimizer: Optimizer = Optimizer.adam
    rate: float = 0.02
    betas: tuple[float, float] = (0.9, 0.99)
    late_rate: float | None = None
    late_from: int = 0
    average: float = 0.0
    steps: int = 110
    first: float = 1.5
    smallest: int | None = None
    margin: int = 0
    init: Init = Init.content


RECIPES: dict[Recipe, RecipeSpec] = {
    # Weights, scales and rate were chosen by judging results with networks that were not optimised.
    Recipe.default: RecipeSpec(
        statistic="moments",
        content_weight=0.2,
        structure_weight=0.4,
        average=0.99,
        smallest=128,
        margin=16,
    ),
    # Gatys, Ecker, Bethge (2016), Image style transfer using convolutional neural networks, CVPR. VGG-19, layer
    # weights 1/5, alpha/beta = 1e-3. Differs: starts from the content, as their released code does.
    Recipe.gatys: RecipeSpec(
        statistic="gram",
        model="vgg19",
        style_layers=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        content_layers=("relu4_2",),
        style_weights=(0.2, 0.2, 0.2, 0.2, 0.2),
        content_weight=1e-3,
        normalize_gram=False,
        optimizer=Optimizer.lbfgs,
        rate=1.0,
        steps=500,
        first=1.0,
    ),
    # CS231n, assignment 3: SqueezeNet, Gram / (C·H·W), plain sums, Adam 3 → 0.1 at step 180 of 200. Differs: the rates
    # are those in [0, 1] pixels (theirs are in units of the data's deviation, about 0.225), and so is the clamping.
    Recipe.cs231n: RecipeSpec(
        statistic="gram",
        model="squeezenet1_1",
        style_layers=("features.1", "features.4", "features.6", "features.7"),
        content_layers=("features.3",),
        style_weights=(20000.0, 500.0, 12.0, 1.0),
        content_weight=6e-2,
        tv=5e-2,
        rate=3.0 * 0.225,
        betas=(0.9, 0.999),
        late_rate=0.1 * 0.225,
        late_from=180,
        steps=200,
        first=1.0,
    ),
}
"""Every recipe by name."""
