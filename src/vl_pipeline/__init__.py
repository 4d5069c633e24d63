"""Noisy web image-text pairs in, a good vision-language model out, reproducibly."""

__version__ = "0.1.0"
