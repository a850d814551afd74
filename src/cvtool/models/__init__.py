"""Networks: what is known about them, how to load them, what their classes are called."""
