"""Measured speed: one script per row, run by `make bench`; nothing of it is in the wheel."""
