"""Slow NumPy twins of the techniques' mathematics, close to the papers; nothing but NumPy."""
