"""Fuzzing: `python -m tests.fuzz` (`make fuzz TIME=60 FRAMES=100000`)."""
