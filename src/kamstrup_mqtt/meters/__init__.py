"""One module per meter family, data only: MODEL = MeterModel(...). `registry` finds them by file.

How to add a meter is the first chapter of CONTRIBUTING.md.
"""
