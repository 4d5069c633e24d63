"""Index the raw shards: where each usable pair lies, and why the others are not."""
