"""Find the checkpoints that were trained on listed pairs."""
