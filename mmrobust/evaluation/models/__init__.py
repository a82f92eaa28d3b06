"""Models that are evaluated: loaded once, ready to predict."""
