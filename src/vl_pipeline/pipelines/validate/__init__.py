"""Drop pairs that break a rule, and hold what is left to the pool's contract."""
