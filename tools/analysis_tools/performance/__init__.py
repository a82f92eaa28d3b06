"""Time and memory of TAP and ADL: cases, measuring, targets, scaling."""
