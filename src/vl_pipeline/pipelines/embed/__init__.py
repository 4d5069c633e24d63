"""Tokenise the captions, start the text tower, and encode captions and target texts."""
