"""All bad inputs: importing its parts fills the registry."""

from __future__ import annotations

from hardening import archives, checkpoints, clips_and_runs, pictures, texts
from hardening.registry import CASES, Case

__all__ = ["CASES", "Case", "archives", "checkpoints", "clips_and_runs", "pictures", "texts"]
