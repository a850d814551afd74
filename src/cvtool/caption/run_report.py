"""The page of a captioner's run: what `cvtool.run_pages` shows of any run, over epochs. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cvtool.caption.report import LABELS
from cvtool.run_pages import Kind, Panel, Record, frame, last_best, value
from cvtool.run_pages import page as run_page

CAPTIONS = "captions"
"""Key of a record: the captions of the pictures that are shown, name → caption."""
WORDLESS = "(no words)"

_FROM_0 = (0.0, 0.0)

_KIND = Kind(
    what="captioner",
    by="epoch",
    names={
        "epoch": "Epoch",
        "step": "Step",
        "loss": "Loss",
        "reward": "Reward",
        "perplexity": "Perplexity",
        **LABELS,
        "tokens_per_second": "Words/s",
        "seconds": "Seconds",
    },
    panels=(
        Panel("Training loss", ("loss",), "−log probability of people's captions, per caption. Lower is better."),
        Panel("Reward", ("reward",), "CIDEr-D of captions drawn in self-critical epochs. Higher is better.", _FROM_0),
        Panel(
            "Perplexity",
            ("perplexity",),
            "Of a word of people's captions of development pictures. Lower is better.",
            may_be_logarithmic=True,
        ),
        Panel("CIDEr-D", ("cider",), "Of its own captions of development pictures; the best epoch is kept.", _FROM_0),
        Panel("BLEU-4 and ROUGE-L", ("bleu4", "rouge_l"), "Of the same captions. Higher is better.", _FROM_0),
        Panel("BLEU of fewer words", ("bleu1", "bleu2", "bleu3"), "Of the same captions. Higher is better.", _FROM_0),
        Panel("Words per caption", ("mean_length",), "Of the same captions.", _FROM_0),
    ),
    tiles=("cider", "bleu4", "rouge_l", "bleu1", "perplexity", "mean_length"),
    judge=("cider", "CIDEr-D"),
    shows="Development pictures, each above its caption",
    finest=1.0,
)


def page(
    config: Mapping[str, object],
    epochs: Sequence[Record],
    sheets: Sequence[tuple[int, str]] = (),
    *,
    command: str = "",
    title: str = "Training of a captioner",
) -> str:
    """The page as HTML text, to be written as UTF-8; the same arguments give the same text.

    Args:
        config: the run's settings, name → value; mappings within become ``outer.inner``.
        epochs: the run's metrics in order, as ``metrics.jsonl`` has them.
        sheets: epoch, and URL of a picture of what was said in it, in order.
        command: the shell command that repeats the run.
        title: heading and name of the page.
    """
    records = [_flat(each) for each in epochs]
    said = {value(each, "epoch"): _said(each) for each in epochs}
    return run_page(
        _KIND,
        records,
        best=last_best(records),
        frames=[frame(_KIND, records, epoch, url, said.get(epoch, "")) for epoch, url in sheets],
        config=config,
        command=command,
        title=title,
    )


def _flat(epoch: Record) -> Record:
    """With its metrics beside the rest; what a self-critical epoch minimised is the negative of a reward."""
    metrics = epoch.get("metrics")
    found = {**epoch, **(metrics if isinstance(metrics, Mapping) else {})}
    if epoch.get("phase") == "self-critical":
        found["reward"] = -value(epoch, "loss")
        found.pop("loss", None)
    return found


def _said(epoch: Record) -> str:
    captions = epoch.get(CAPTIONS)
    if not isinstance(captions, Mapping):
        return ""
    return " ".join(f"{name}: {caption or WORDLESS}." for name, caption in captions.items())
