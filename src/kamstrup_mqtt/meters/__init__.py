"""Meters: quantities, units, reading plan, derived values, detection; `models/` is data only.

How to add a meter is the first chapter of CONTRIBUTING.md.
"""
