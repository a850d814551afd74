"""What `saliency` can be told, with every default in one place. No torch here: the command line reads this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cvtool.models.cards import Resize


class Method(str, Enum):
    """How a score is attributed to pixels."""

    gradient = "gradient"
    gradient_x_input = "gradient-x-input"
    smoothgrad = "smoothgrad"
    smoothgrad_squared = "smoothgrad-squared"
    vargrad = "vargrad"
    integrated_gradients = "integrated-gradients"
    guided_backprop = "guided-backprop"
    deconvnet = "deconvnet"
    grad_cam = "grad-cam"
    grad_cam_plus_plus = "grad-cam++"
    layer_cam = "layer-cam"
    score_cam = "score-cam"
    guided_grad_cam = "guided-grad-cam"
    full_grad = "full-grad"
    occlusion = "occlusion"
    rise = "rise"
    xrai = "xrai"
    attention_rollout = "attention-rollout"


class Reduce(str, Enum):
    """How the three channels of an attribution become one number per pixel."""

    max = "max"
    sum = "sum"
    l2 = "l2"


class Baseline(str, Enum):
    """What stands for "nothing to see": where integration starts, what covers a patch."""

    black = "black"
    white = "white"
    mean = "mean"
    blur = "blur"
    noise = "noise"


@dataclass(frozen=True)
class SaliencyOptions:
    """Options of one explanation.

    Attributes:
        method: how a score is attributed to pixels.
        reduce: of the three channels; None asks the method.
        resize: ``fit`` shows the network the whole picture undistorted, ``crop`` the central part that it was evaluated
            on, ``stretch`` the whole picture as a square.
        samples: noisy copies (smoothgrad, …) or masks (RISE); None asks the method.
        noise: standard deviation of the noise, as a share of the picture's range of values.
        steps: points on the path of integrated gradients, tripled until `tolerance` is met.
        most_steps: where the tripling ends.
        crowding: the points lie at t**crowding of the path, t even; 1 spaces them evenly, as other libraries do.
        tolerance: largest relative completeness error of integrated gradients that needs no more points.
        baseline: None asks the method.
        patch: side of the square that occlusion covers, as a share of the network input's side.
        layer: whose activations class activation maps weigh; None probes for it.
        top_k: number of predictions that are reported.
        batch: network inputs at a time, halved when memory runs out; None asks the device.
        seed: seed of everything random.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``. In less than fp32 the gradients along a path do not add up
            to what they should: integrated gradients take all their steps, in vain.
    """

    method: Method = Method.gradient
    reduce: Reduce | None = None
    resize: Resize = Resize.fit
    samples: int | None = None
    noise: float = 0.15
    steps: int = 64
    most_steps: int = 576
    crowding: float = 2.0
    tolerance: float = 0.01
    baseline: Baseline | None = None
    patch: float = 1 / 15
    layer: str | None = None
    top_k: int = 5
    batch: int | None = None
    seed: int = 0
    precision: str = "fp32"
