"""Turn pairs away that break a rule."""
