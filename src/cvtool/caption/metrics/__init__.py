"""How good captions are: BLEU, ROUGE-L, CIDEr-D, as pycocoevalcap's scorers compute them; and reading such captions.

The scorers take words. pycocoevalcap makes words with Stanford's tokenizer, a Java program; here it is
`cvtool.caption.vocabulary.tokenize` (`score_texts`), so numbers can differ in the last digits for unusual texts.
"""

from cvtool.caption.metrics.bleu import bleu
from cvtool.caption.metrics.cider import CiderD, cider_d
from cvtool.caption.metrics.files import CaptionFile, matched, read_caption_file
from cvtool.caption.metrics.rouge import rouge_l
from cvtool.caption.metrics.scoring import Metrics, score, score_texts

__all__ = [
    "CaptionFile",
    "CiderD",
    "Metrics",
    "bleu",
    "cider_d",
    "matched",
    "read_caption_file",
    "rouge_l",
    "score",
    "score_texts",
]
