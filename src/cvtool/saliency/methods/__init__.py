"""All methods. Importing them here is what enters them into `METHODS`, which is to be imported from here."""

from cvtool.saliency.methods import cams, covering, full_grad, gradients, integrated, rectified, regions, rollout
from cvtool.saliency.registry import METHODS

__all__ = [
    "METHODS",
    "cams",
    "covering",
    "full_grad",
    "gradients",
    "integrated",
    "rectified",
    "regions",
    "rollout",
]
