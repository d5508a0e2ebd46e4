"""steerkit: steer a language model, filter, heal, bake, repeat, and tell healing from undoing."""

__version__ = "0.1.0"
