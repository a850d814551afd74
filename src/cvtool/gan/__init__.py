"""Generative adversarial networks, and the VAE as the other way: train, judge, sample."""
