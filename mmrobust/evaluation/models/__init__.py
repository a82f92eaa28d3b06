"""Models under evaluation, loaded once."""
