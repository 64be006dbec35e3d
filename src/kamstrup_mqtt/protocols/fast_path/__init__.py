"""Layouts learned from whole messages, so that the next of the same layout is read quickly."""
