"""One module per meter family, data only: MODEL = MeterModel(...); `registry` finds them."""
