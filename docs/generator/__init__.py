"""Generates the parts of the documentation that follow from the code.

`hook` adds the generated pages when MkDocs builds the site. `python -m docs.generator` rewrites the
two generated texts that are committed: the table of meters in README.md and docs/quantities.md.
"""
