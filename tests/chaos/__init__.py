"""The fault matrix: faults done to real processes, and what must hold. `python -m tests.chaos` prints the table."""
