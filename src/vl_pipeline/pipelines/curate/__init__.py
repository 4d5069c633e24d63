"""Ask a method's curator about the whole pool, before any training."""
