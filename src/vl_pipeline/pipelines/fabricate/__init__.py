"""Make the embedded pool: rendered scenes with captions, and tasks to evaluate on."""
