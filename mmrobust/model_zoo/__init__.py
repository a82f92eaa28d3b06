"""The numbers of the paper's tables, and shipped weights."""
