"""How good the maps of every saliency method are: insertion, deletion and the sanity check on 100 ImageNet pictures.

    python benchmarks/saliency_quality.py --data DIR              # goes on where the last run ended; hours in all
    python benchmarks/saliency_quality.py --data DIR --minutes 60
    python benchmarks/saliency_quality.py --table                 # only prints what was measured

DIR holds one picture a class; every fifth is taken. The likeliest class is explained. Each row of
results/saliency_quality.jsonl is one map. Methods that only look at scores and one gradient run in bfloat16, which
changes insertion − deletion by .01 at most; the integrals need float32 to be complete. The sanity check explains a
second network; the slowest methods have it on every fifth or tenth of the pictures.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import kept

RESULTS = kept.results("saliency_quality")
MODEL = "efficientnet-lite0"
EVERY, PICTURES = 5, 100
FLOAT32 = {"integrated-gradients", "xrai"}
SLOW_LAST = ["occlusion", "score-cam", "integrated-gradients", "xrai", "rise"]
SANITY_EVERY = {"occlusion": 5, "score-cam": 5, "integrated-gradients": 10, "xrai": 10, "rise": 10}  # of the pictures
SAMPLES = {"rise": 1000}  # masks, a quarter of the default, which takes a minute and a half a picture


def methods() -> list[str]:
    """All that explain a class, quick ones first."""
    from cvtool.saliency.methods import METHODS

    names = [name.value for name in METHODS if name.value != "attention-rollout"]  # needs a vision transformer
    return sorted(names, key=lambda name: SLOW_LAST.index(name) if name in SLOW_LAST else -1)


def measure(folder: Path, minutes: float, pictures: int, wanted: list[str]) -> None:
    """Explain and judge what is not in the results yet."""
    from cvtool.images import read_picture
    from cvtool.models.loader import load
    from cvtool.saliency.evaluation import evaluate, insertion_and_deletion, shuffled
    from cvtool.saliency.options import Method, SaliencyOptions
    from cvtool.saliency.service import Explainer, explain

    end = time.monotonic() + 60 * minutes
    done = {(row["method"], row["picture"]) for row in kept.rows(RESULTS)}
    explainer = Explainer.of(load(MODEL))
    forgetful = Explainer(shuffled(explainer.model), explainer.any_size)
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    for method in wanted:
        precision = "fp32" if method in FLOAT32 else "bf16"
        options = SaliencyOptions(method=Method(method), precision=precision, samples=SAMPLES.get(method))
        for number, path in enumerate(files[::EVERY][:pictures]):
            if (method, path.stem) in done:
                continue
            if time.monotonic() > end:
                return
            start = time.monotonic()
            (found,) = explain([read_picture(path).pixels], explainer, options)
            row: dict[str, Any] = {"method": method, "picture": path.stem}
            if number % SANITY_EVERY.get(method, 1):
                insertion, deletion = insertion_and_deletion(found, explainer.model)
                row |= {"insertion": round(insertion, 4), "deletion": round(deletion, 4)}
            else:
                seen = evaluate(found, explainer, forgetful, stability=False)
                row |= {"insertion": round(seen.insertion_auc, 4), "deletion": round(seen.deletion_auc, 4)}
                row["sanity_correlation"] = round(seen.sanity_correlation, 4)
                row["sanity_ssim"] = round(seen.sanity_ssim, 4)
            row |= {"precision": precision, "seconds": round(time.monotonic() - start, 1)}
            kept.add(RESULTS, row)


def table() -> str:
    """Means with 95 % intervals, best first."""
    from cvtool.saliency.evaluation import verdict
    from cvtool.saliency.statistics import mean_and_interval

    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in kept.rows(RESULTS):
        found[row["method"]].append(row)
    lines = []
    for method, each in found.items():
        score, low, high = mean_and_interval([row["insertion"] - row["deletion"] for row in each])
        checked = [row for row in each if "sanity_ssim" in row]
        insertion, deletion = _mean(each, "insertion"), _mean(each, "deletion")
        correlation, ssim = _mean(checked, "sanity_correlation"), _mean(checked, "sanity_ssim")
        quality = f"**{score:.3f}** ({low:.3f} to {high:.3f}) | {insertion:.3f} | {deletion:.3f}"
        sanity = f"{correlation:.2f} | {ssim:.2f} | {len(checked)} | {verdict(correlation)}"
        lines.append((score, f"| {method} | {len(each)} | {quality} | {sanity} |"))
    head = (
        "| method | pictures | insertion − deletion | insertion | deletion | sanity: rank corr. | SSIM | on | verdict |"
    )
    place = [kept.headline(RESULTS, "torch"), ""]
    return "\n".join([*place, head, "| --- " * 9 + "|", *(line for _, line in sorted(lines, reverse=True))])


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return sum(row[key] for row in rows) / len(rows)


def main() -> None:
    """Measure for a while, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of pictures")
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--methods", help="comma-separated; all by default")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table:
        wanted = arguments.methods.split(",") if arguments.methods else methods()
        measure(arguments.data, arguments.minutes, arguments.pictures, wanted)
    print(table())


if __name__ == "__main__":
    main()
