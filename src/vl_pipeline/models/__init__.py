"""Dual encoders built over open_clip's towers."""
