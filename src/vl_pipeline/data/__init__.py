"""Pairs on disk and in memory: shards, the pool, its ledger, tokens, images, tasks."""
