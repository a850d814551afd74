"""Instant style transfer: one pass of a small trained network for any style, and how that network is trained."""
