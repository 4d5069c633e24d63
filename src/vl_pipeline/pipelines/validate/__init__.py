"""Hold the pairs that screening left to the pool's contract."""
