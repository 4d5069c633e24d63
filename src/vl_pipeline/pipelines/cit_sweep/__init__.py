"""Compare thresholds, strategies and seeds under one budget of pairs seen."""
