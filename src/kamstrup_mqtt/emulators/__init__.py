"""Meters that answer or push, by the same codecs turned round: for demo, tests and development."""
