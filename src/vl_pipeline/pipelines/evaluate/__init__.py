"""Evaluate a checkpoint on the configured split of each task."""
