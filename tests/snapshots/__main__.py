"""Rewrite the stored discovery messages: `python -m tests.snapshots`."""

from tests.snapshots import HERE, snapshots

wanted = snapshots()
for path in HERE.glob("*.json"):
    if path.name not in wanted:
        path.unlink()
for name, text in wanted.items():
    (HERE / name).write_text(text, encoding="utf-8")
print(f"{len(wanted)} messages in {HERE}")
