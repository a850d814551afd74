"""The recipes: which losses, weights, optimiser and number of steps make a style transfer. Data only, no torch."""

from __future__ import annotations

from dataclasses import dataclass

from cvtool.models.cards import DEFAULT_MODEL
from cvtool.stylize.options import Init, Optimizer, Recipe


@dataclass(frozen=True)
class RecipeSpec:
    """One way to run a style transfer.

    Attributes:
        terms: which losses: ``"moments"`` (ours), ``"gatys"`` or ``"cs231n"``, see `cvtool.stylize.objective`.
        model: the network it runs on unless another is named.
        published: the network it was published with, whose layers the next two name.
        style_layers, content_layers: layers of `published`; another network's come from its card.
        style_weights: one per style layer; () for equal ones.
        content_weight: of the feature distance at strength 50.
        structure_weight: of the self-similarity distance at strength 50.
        palette_weight: of the colours' mean and covariance, beside style layers that weigh 1 in all.
        tv: weight of total variation.
        optimizer, rate, betas: how the picture moves; `rate` in units of the pixel range [0, 1].
        late_rate: with Adam, the rate of the new one that ends each scale, which then ends no earlier; None: there is
            none.
        late_from: share of a scale's steps after which it begins.
        average: decay of the average over iterates; 0 takes the last one.
        steps: at the first and at the last scale; geometric in between, because large steps cost the most and
            change the least.
        smallest: longer side of the first scale, in pixels; None optimises at the final size only.
        margin: pixels by which the picture is continued before it enters the network, so that the network's zero
            padding leaves no frame.
        init: where it starts unless told otherwise.
        recolor: a start from the content takes on the style's colours in proportion to the strength: one step for what
            takes the gradient, which is made of texture, dozens.
    """

    terms: str
    model: str = DEFAULT_MODEL
    published: str = ""
    style_layers: tuple[str, ...] = ()
    content_layers: tuple[str, ...] = ()
    style_weights: tuple[float, ...] = ()
    content_weight: float = 0.0
    structure_weight: float = 0.0
    palette_weight: float = 0.0
    tv: float = 0.0
    optimizer: Optimizer = Optimizer.adam
    rate: float = 0.02
    betas: tuple[float, float] = (0.9, 0.99)
    late_rate: float | None = None
    late_from: float = 1.0
    average: float = 0.0
    steps: tuple[int, int] = (95, 40)
    smallest: int | None = None
    margin: int = 0
    init: Init = Init.content
    recolor: bool = False

    def weights_for(self, layers: int) -> tuple[float, ...]:
        """One weight per style layer: the recipe's, or for another number of layers their mean for each."""
        if len(self.style_weights) == layers:
            return self.style_weights
        mean = sum(self.style_weights) / len(self.style_weights) if self.style_weights else 1 / layers
        return (mean,) * layers


RECIPES: dict[Recipe, RecipeSpec] = {
    # Weights, scales and rate were chosen by judging results with networks that were not optimised.
    Recipe.default: RecipeSpec(
        terms="moments",
        content_weight=0.3,
        structure_weight=0.3,
        palette_weight=0.5,
        recolor=True,
        tv=0.7,
        rate=0.03,
        betas=(0.8, 0.98),
        average=0.92,
        smallest=128,
        margin=16,
    ),
    # Gatys, Ecker, Bethge (2016), Image style transfer using convolutional neural networks, CVPR: the weights of their
    # released code, whose losses are means. Differs: the network is normalised as `objective.GatysTerms` says.
    Recipe.gatys: RecipeSpec(
        terms="gatys",
        model="vgg19",
        published="vgg19",
        style_layers=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        content_layers=("relu4_2",),
        style_weights=(1e3 / 64**2, 1e3 / 128**2, 1e3 / 256**2, 1e3 / 512**2, 1e3 / 512**2),
        content_weight=1.0,
        optimizer=Optimizer.lbfgs,
        rate=1.0,
        steps=(500, 500),
    ),
    # CS231n, assignment 3: SqueezeNet, Gram / (C·H·W), plain sums, Adam 3, for the last 20 of 200 steps a new one of
    # 0.1. Differs: rates and total variation are brought to pixels in [0, 1], where all steps are clamped to; theirs
    # are divided by ImageNet's deviations, about 0.225. With other numbers of steps, the last tenth is the late one.
    # SqueezeNet's weights do not come with the install, so it runs on another network unless that one is asked for.
    Recipe.cs231n: RecipeSpec(
        terms="cs231n",
        published="squeezenet1_1",
        style_layers=("features.1", "features.4", "features.6", "features.7"),
        content_layers=("features.3",),
        style_weights=(20000.0, 500.0, 12.0, 1.0),
        content_weight=6e-2,
        tv=5e-2 / 0.225**2,
        rate=3.0 * 0.225,
        betas=(0.9, 0.999),
        late_rate=0.1 * 0.225,
        late_from=0.9,
        steps=(200, 200),
    ),
}
"""Every recipe by name."""
