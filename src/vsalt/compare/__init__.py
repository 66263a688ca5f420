"""Training methods at matched compute, on data that none of them has seen in training."""
