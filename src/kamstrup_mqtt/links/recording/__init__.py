"""Recording and replay of byte streams."""
