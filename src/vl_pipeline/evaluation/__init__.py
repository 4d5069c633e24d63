"""How good a model is: zero-shot classification and retrieval, as exact numbers and figures."""
