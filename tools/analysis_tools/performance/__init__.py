"""What TAP and ADL cost beside the forms in which they were released: cases, measuring, and what follows for scale."""
