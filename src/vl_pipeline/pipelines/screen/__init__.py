"""Turn pairs away that break a rule, are blocked, leak, or repeat a picture."""
