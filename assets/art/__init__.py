"""Procedural paintings for `assets/styles`: numpy and Pillow only, no photographs, one seed, one picture."""
