"""Which pairs to train on: one rule per file, one answer for all of them."""
