"""Turning pairs away before anything is embedded: rules, blocked pairs, duplicates, leaks."""
