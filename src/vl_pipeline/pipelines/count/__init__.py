"""Count images, captions and words over the raw pool, for rules that ask how often they occur."""
