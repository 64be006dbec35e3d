"""One module per meter family, which contains data only: MODEL = MeterModel(...).

`registry` finds the modules by file.
"""
