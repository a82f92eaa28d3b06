"""Evaluation of robustness."""
