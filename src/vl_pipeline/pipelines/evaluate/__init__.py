"""Evaluate a checkpoint on the test split of each task."""
