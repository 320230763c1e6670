"""Watches a folder with watchfiles (behind uvicorn --reload and others) and says what it believes of one file.

usage: watchfiles_probe.py FOLDER FILE SENTINEL
Prints `ready`, then, once SENTINEL was seen, one line of JSON: the changes of FILE, batch by batch, and
whether a program that follows them believes that the file is there. The order within a batch is not
defined, so a batch with a deletion counts as one.
"""

import json
import pathlib
import sys

from watchfiles import Change, watch

folder, file, sentinel = sys.argv[1:]
events, present, seen = [], True, False
# With `yield_on_timeout` the first, empty batch says that the watches are set.
for batch in watch(folder, step=20, debounce=100, rust_timeout=200, yield_on_timeout=True, watch_filter=None):
    if not batch:
        print("ready", flush=True)
        if seen:
            break
        continue
    kinds = {change for change, path in batch if pathlib.Path(path).name == file}
    if kinds:
        events.append(sorted(kind.name for kind in kinds))
        present = Change.deleted not in kinds
    seen = seen or any(pathlib.Path(path).name == sentinel for _, path in batch)
print(json.dumps({"events": events, "present": present, "sentinel": seen}), flush=True)
