"""Saliency against captum, pytorch-grad-cam and xaitk-saliency on the same network, pictures and machine.

    python benchmarks/saliency.py            # 32 pictures, occlusion and RISE 4; about half an hour
    python benchmarks/saliency.py --pictures 2
    python benchmarks/saliency.py --table    # only prints what was measured

Every contestant runs in a process of its own: it loads the network, explains one picture to warm up, then the others
one after the other. All take as many samples, points, patches and masks. Peers are called as their documentation shows;
"in batches" is captum told to send as many pictures at a time through the network as ours does by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kept

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "photos"
RESULTS = kept.results("saliency")
MODEL = "efficientnet-lite0"
BATCH, SAMPLES, STEPS, MASKS = 8, 50, 64, 1000
BATCHED = "captum in batches"
SLOW = {"occlusion", "rise"}
PAIRS = [
    ("gradient", "captum"),
    ("smoothgrad", "captum"),
    ("smoothgrad", BATCHED),
    ("integrated-gradients", "captum"),
    ("integrated-gradients", BATCHED),
    ("occlusion", "captum"),
    ("occlusion", BATCHED),
    ("rise", "xaitk-saliency"),
    ("grad-cam", "captum"),
    ("grad-cam", "grad-cam"),
    ("grad-cam++", "grad-cam"),
    ("layer-cam", "grad-cam"),
]


def pictures(count: int) -> list[Any]:
    """`count` tensors (1, 3, 224, 224): windows of the bundled photographs."""
    from cvtool.images import read_picture, resize
    from cvtool.tensors import to_tensor

    found = []
    files = sorted(ASSETS.glob("*.jpg"))
    for number in range(count):
        pixels = read_picture(files[number % len(files)]).pixels
        side = min(pixels.shape[:2])
        shift = (number // len(files)) * 8
        window = pixels[shift:side, shift:side]
        found.append(to_tensor(resize(window, 224, 224, "bicubic")))
    return found


def ours(method: str) -> Callable[[Any], None]:
    """This project's, through the question that the service asks."""
    import torch

    from cvtool.models.loader import load
    from cvtool.saliency.methods import METHODS
    from cvtool.saliency.options import Method, SaliencyOptions
    from cvtool.saliency.question import Question
    from cvtool.saliency.service import Explainer

    samples = MASKS if method == "rise" else SAMPLES
    options = SaliencyOptions(batch=BATCH, samples=samples, steps=STEPS, most_steps=STEPS)
    model = Explainer.of(load(MODEL)).model

    def explain(x: Any) -> None:
        x = x.contiguous(memory_format=torch.channels_last)
        target = model.module(model.normalize(x)).argmax(1)
        METHODS[Method(method)].explain(Question(model, x, target, None, options))

    return explain


def theirs(method: str, library: str) -> Callable[[Any], None]:
    """A peer's, as its documentation shows it."""
    import torch
    from torch import nn

    from cvtool.models.loader import load

    model = load(MODEL)
    module = nn.Sequential()

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model.module

        def forward(self, x: Any) -> Any:
            return self.inner(model.normalize(x))

    module = Whole().eval()
    layer = module.inner.bn2

    def target(x: Any) -> int:
        with torch.no_grad():
            return int(module(x).argmax(1))

    if library == "grad-cam":
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        names = {"grad-cam": "GradCAM", "grad-cam++": "GradCAMPlusPlus", "layer-cam": "LayerCAM"}
        cam = getattr(pytorch_grad_cam, names[method])(module, [layer])
        return lambda x: cam(x.requires_grad_(), [ClassifierOutputTarget(target(x))])
    if library == "xaitk-saliency":
        return xaitk_rise(module)
    import captum.attr as captum

    batched = library == BATCHED
    if method == "gradient":
        return lambda x: captum.Saliency(module).attribute(x, target=target(x))
    if method == "smoothgrad":
        tunnel = captum.NoiseTunnel(captum.Saliency(module))
        size = BATCH if batched else None
        return lambda x: tunnel.attribute(
            x, nt_samples=SAMPLES, nt_samples_batch_size=size, stdevs=0.15, target=target(x)
        )
    if method == "integrated-gradients":
        path = captum.IntegratedGradients(module)
        size = BATCH if batched else None
        return lambda x: path.attribute(
            x, target=target(x), n_steps=STEPS, method="riemann_middle", internal_batch_size=size
        )
    if method == "occlusion":
        cover = captum.Occlusion(module)
        size = BATCH if batched else 1
        return lambda x: cover.attribute(
            x, (3, 15, 15), (3, 7, 7), float(x.mean()), target(x), perturbations_per_eval=size
        )
    cam = captum.LayerGradCam(module, layer)
    return lambda x: captum.LayerAttribution.interpolate(cam.attribute(x, target(x)), (224, 224))


def xaitk_rise(module: Any) -> Callable[[Any], None]:
    """Its RISE asks a black box of arrays (H, W, 3) of bytes; ours gathers them into batches for the network."""
    from itertools import islice

    import numpy as np
    import torch
    from smqtk_classifier import ClassifyImage
    from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.rise import RISEStack

    class BlackBox(ClassifyImage):
        def get_labels(self) -> list[int]:
            return list(range(1000))

        def classify_images(self, img_iter: Any) -> Any:
            images = iter(img_iter)
            while batch := list(islice(images, BATCH)):
                x = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / 255
                with torch.no_grad():
                    chances = module(x).softmax(1).numpy()
                yield from (dict(enumerate(each)) for each in chances)

        def get_config(self) -> dict[str, Any]:
            return {}

    stack = RISEStack(MASKS, 7, 0.5, seed=0, threads=os.cpu_count())

    def explain(x: Any) -> None:
        pixels = (x[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        stack.fill = [int(each) for each in pixels.mean((0, 1))]
        stack.generate(pixels, BlackBox())

    return explain


def contest(method: str, library: str, count: int) -> None:
    """Run one contestant and print what it took."""
    import resource

    explain = ours(method) if library == "cvtool" else theirs(method, library)
    first, *rest = pictures(count + 1)
    explain(first)
    started = time.perf_counter()
    for x in rest:
        explain(x)
    seconds = (time.perf_counter() - started) / count
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6]))


def measured(method: str, library: str, count: int) -> tuple[float, float]:
    """Seconds per picture and peak memory in MB of one contestant in a process of its own."""
    command = [sys.executable, __file__, "--contest", method, library, "--pictures", str(count)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(ran.stderr)
    seconds, peak = json.loads(ran.stdout.splitlines()[-1])
    return seconds, peak


def measure(count: int) -> None:
    """Ours and theirs by turns."""
    RESULTS.unlink(missing_ok=True)
    own: dict[str, tuple[float, float]] = {}
    for method, library in PAIRS:
        number = max(1, count // 8) if method in SLOW else count
        if method not in own:
            own[method] = measured(method, "cvtool", number)
        ours_seconds, ours_peak = own[method]
        seconds, peak = measured(method, library, number)
        print(f"{method}: {ours_seconds:.3f} s, {library} {seconds:.3f} s", file=sys.stderr)
        row = {"method": method, "peer": library, "pictures": number, "seconds": ours_seconds, "peer_seconds": seconds}
        kept.add(RESULTS, {**row, "peak_mb": ours_peak, "peer_peak_mb": peak})


def table() -> str:
    """What was measured."""
    lines = [
        kept.headline(RESULTS, "torch", "captum", "grad-cam", "xaitk-saliency"),
        "",
        "| method | peer | pictures | cvtool, s a picture | peer, s a picture | times faster | cvtool, MB | peer, MB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['method']} | {row['peer']} | {row['pictures']} | {row['seconds']:.3f} | {row['peer_seconds']:.3f} "
        f"| {row['peer_seconds'] / row['seconds']:.2f} | {row['peak_mb']:.0f} | {row['peer_peak_mb']:.0f} |"
        for row in kept.rows(RESULTS)
    ]
    return "\n".join(lines)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=32, help="pictures for each contestant")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--contest", nargs=2, metavar=("METHOD", "LIBRARY"), help="run one contestant, for this script")
    args = parser.parse_args()
    if args.contest:
        contest(*args.contest, args.pictures)
    else:
        if not args.table:
            measure(args.pictures)
        print(table())


if __name__ == "__main__":
    main()
