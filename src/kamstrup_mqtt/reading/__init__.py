"""Reads meters: polling, listening, plausibility and the state of each line."""
