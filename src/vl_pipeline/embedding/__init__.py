"""Captions and images turned into vectors, as few times as possible."""
