"""Fuzzing: `python -m tests.fuzz` (`make fuzz TIME=60 FRAMES=100000`)."""

NAMES = (
    "kmp",
    "kmp_ascii",
    "iec62056_21",
    "han",
    "kmp_poll",
    "kmp_ascii_poll",
    "iec62056_21_poll",
    "multical_66",
    "multical_66_poll",
    "han_plan",
    "config",
    "commands",
    "kmp_inside",
    "kmp_talk",
    "kmp_found",
    "kmp_logs",
    "kmp_ascii_inside",
    "kmp_ascii_talk",
    "iec62056_21_inside",
    "han_inside",
    "han_learning",
    "han_sealed",
    "han_untagged",
)
"""The names of the targets (targets.py)."""
