"""Fuzzing: `python -m tests.fuzz` (`make fuzz TIME=60 FRAMES=100000`)."""

NAMES = (
    "kmp",
    "kmp_ascii",
    "iec62056_21",
    "han",
    "kmp_poll",
    "kmp_ascii_poll",
    "iec62056_21_poll",
    "han_plan",
    "config",
    "commands",
)
"""What is fuzzed (targets.py)."""
