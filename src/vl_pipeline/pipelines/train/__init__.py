"""Train a dual encoder on what a method's schedule and curator choose."""
