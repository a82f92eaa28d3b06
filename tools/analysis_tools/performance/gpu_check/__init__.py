"""The parts of `make gpu-check`, the processes in which they run, and the report that they make."""
