"""Emulated meters for demo, tests and development. They use the protocols to encode."""
