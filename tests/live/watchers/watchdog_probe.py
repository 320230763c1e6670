"""Watches a folder with python watchdog and says what it believes of one file.

usage: watchdog_probe.py FOLDER FILE SENTINEL
Prints `ready`, then, once SENTINEL was seen, one line of JSON: the events on FILE in order, and whether a
program that follows them believes that the file is there.
"""

import json
import pathlib
import sys
import threading

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer


class Probe(FileSystemEventHandler):
    def __init__(self, file, sentinel):
        self.file, self.sentinel = file, sentinel
        self.events, self.present = [], True
        self.done = threading.Event()

    def on_any_event(self, event):
        source = pathlib.Path(event.src_path).name
        target = pathlib.Path(event.dest_path).name if getattr(event, "dest_path", "") else ""
        if self.sentinel in (source, target):
            self.done.set()
        elif self.file == target:
            self.note(event.event_type, True)
        elif self.file == source:
            self.note(event.event_type, event.event_type not in ("deleted", "moved"))

    def note(self, kind, present):
        self.events.append(kind)
        self.present = present


folder, file, sentinel = sys.argv[1:]
probe = Probe(file, sentinel)
observer = Observer()
observer.schedule(probe, folder, recursive=True)
observer.start()
print("ready", flush=True)
seen = probe.done.wait(timeout=30)
observer.stop()
observer.join()
print(json.dumps({"events": probe.events, "present": probe.present, "sentinel": seen}), flush=True)
