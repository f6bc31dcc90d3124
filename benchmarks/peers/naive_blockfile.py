"""The design that BlockFile must beat: each write flushes the registry, syncs the disk, and reads its bytes back for a SHA-256.

    put: allocate (the file is extended each time) -> write -> whole registry as JSON to its own file -> sync both -> read back -> compare

One lock for readers and writers. Nothing is slow on purpose: this is the obvious first version, and it is correct.
"""

import hashlib
import json
import os
import threading


class NaiveBlockFile:
    """put, get by name; bytes only."""

    def __init__(self, path):
        self.path = str(path)
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT)
        self.end = os.fstat(self.fd).st_size
        self.gate = threading.Lock()
        self.registry = {}
        if os.path.exists(self.path + ".registry"):
            with open(self.path + ".registry") as file:
                self.registry = json.load(file)

    def put(self, name, value):
        with self.gate:
            at = self.end
            os.ftruncate(self.fd, at + len(value))
            self.end = at + len(value)
            os.pwrite(self.fd, value, at)
            self.registry[name] = (at, len(value), hashlib.sha256(value).hexdigest())
            with open(self.path + ".registry.new", "w") as file:
                json.dump(self.registry, file)
                file.flush()
                os.fsync(file.fileno())
            os.rename(self.path + ".registry.new", self.path + ".registry")
            os.fsync(self.fd)
            if hashlib.sha256(os.pread(self.fd, len(value), at)).hexdigest() != self.registry[name][2]:
                raise OSError(f"{name} was not written right")

    def get(self, name):
        with self.gate:
            at, n, digest = self.registry[name]
            value = os.pread(self.fd, n, at)
            if hashlib.sha256(value).hexdigest() != digest:
                raise OSError(f"{name} is damaged")
            return value

    def close(self):
        os.close(self.fd)
