"""Score how well image and caption of each pair agree."""
