"""``tables.tt`` written from Python: everything that records refer to by a number, once each."""

from __future__ import annotations

import _thread
import errno
import os
import struct
from collections.abc import Callable
from types import CodeType, FrameType

from tinytrace.tracer.caps import CAPS, FURTHER_NAMES, Caps
from tinytrace.tracer.files import OwnFile
from tinytrace.tracer.records import (
    ENTRY,
    FORMAT_VERSION,
    TABLES_MAGIC,
    TABLES_NAME,
    Entry,
)

MAX_FRAMES = 512  # a deeper stack loses its outer part
SITE_INTERNAL, SITE_OURS = 1, 2  # flags of Entry.SITE


class Interning:
    """Ids for names, signatures, call sites and stacks; each is on file before its first use.

    Args:
        hidden: ids of code objects whose frames are in nobody's stack: those of hooks.
        fail: is told when nothing can be written any more.
        caps: how much.
    """

    def __init__(
        self, hidden: set[int], fail: Callable[[BaseException], None], caps: Caps = CAPS
    ) -> None:
        """Begin closed: what is interned then has id 0."""
        self._caps = caps
        self._hidden = hidden
        self._fail = fail
        self._file: OwnFile | None = None
        # Reentrant: a signal handler or a finalizer may do an operation while we are interning.
        self._lock = _thread.RLock()
        self._prefixes: tuple[str, ...] = ()
        self._ours: tuple[str, ...] = ()
        self._names: dict[tuple[int, str, str], int] = {}
        self._counts = dict.fromkeys(Entry, 0)
        self._signatures: dict[bytes, int] = {}
        self._bare = 0  # of them, ops without operands
        self._sites: dict[tuple[int, int], tuple[int, int]] = {}
        self._codes: dict[int, CodeType] = {}  # keeps the ids of code objects meaningful
        self._stacks: dict[tuple[int, int], int] = {}
        self.bytes = self._name_bytes = self._most_bytes = 0  # of the file; of names; it may have
        self.sites_left_out = self.signatures_left_out = self.stacks_left_out = 0
        self.names_left_out = 0
        self.on_new_place: Callable[[], None] | None = None
        self._is_new = False  # a place of the program's was met since it was told

    # ---- the file ----

    def open(self, folder: str, most_bytes: int) -> None:
        """Begin the file.

        Args:
            folder: of the process.
            most_bytes: the size beyond which nothing more is interned.

        Raises:
            OSError: it exists, or cannot be written.
        """
        path = f"{folder}/{TABLES_NAME}"
        self._most_bytes = most_bytes
        self._file = OwnFile(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            self._write(TABLES_MAGIC + struct.pack("<II", FORMAT_VERSION, 0))
        except OSError:
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether entries can be written."""
        return self._file is not None

    def close(self) -> None:
        """End the file; closing twice is fine."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self, data: bytes) -> None:
        if self._file is None:
            return
        fd = self._file.number()
        if os.write(fd, data) != len(data):
            os.ftruncate(fd, self.bytes)  # no torn entry before another one
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.bytes += len(data)

    def put(self, entry: int, payload: bytes) -> None:
        """Append one entry, by one write: a torn one can only be the last. Nothing when closed.

        Once writing has failed it is tried still: the reason, and how the recording went, may find room.
        """
        if self._file is None:
            return
        try:
            self._write(ENTRY.pack(ENTRY.size + len(payload), entry, 0) + payload)
        except OSError as problem:
            self._fail(problem)

    def _is_full(self, entry_bytes: int) -> bool:
        return self.bytes + entry_bytes > self._most_bytes

    def _next(self, entry: Entry) -> int:
        self._counts[entry] += 1
        return self._counts[entry]

    # ---- names and signatures ----

    def name(self, entry: Entry, first: str, second: str) -> int:
        """Return the id of an op (second: ""), a label or a series."""
        key = (entry, first, second)
        found = self._names.get(key)
        if found is not None:
            return found
        if self._file is None:
            return 0
        full = self._is_full(16 + 4 * (len(first) + len(second)))
        if (full or self._name_bytes > self._caps.name_bytes) and first != FURTHER_NAMES:
            self.names_left_out += 1
            return 0 if entry == Entry.SERIES else self.name(entry, FURTHER_NAMES, "")
        with self._lock:
            if key not in self._names:
                number = self._next(entry)
                text = first.encode("utf-8", "surrogatepass")
                size = b"" if entry == Entry.OP else struct.pack("<I", len(text))
                rest = second.encode("utf-8", "surrogatepass")
                self._name_bytes += len(text) + len(rest)
                self.put(entry, struct.pack("<I", number) + size + text + rest)
                self._names[key] = number
            return self._names[key]

    def signature(self, key: bytes) -> int:
        """Return the id of a signature's key (see `records`); beyond the cap, of its op without operands."""
        found = self._signatures.get(key)
        if found is not None:
            return found
        bare = key[:4] + b"\0\0\0\0"
        if key == bare and self._bare >= self._caps.bare_signatures:
            return 0
        with_operands = len(self._signatures) - self._bare
        full = with_operands >= self._caps.signatures or self._is_full(12 + len(key))
        if key != bare and full:
            self.signatures_left_out += 1
            return self.signature(bare)
        with self._lock:
            if key not in self._signatures:
                number = self._next(Entry.SIGNATURE)
                self.put(Entry.SIGNATURE, struct.pack("<I", number) + key)
                self._signatures[key] = number
                self._bare += key == bare
            return self._signatures[key]

    # ---- call sites and stacks ----

    def internal(self, prefixes: tuple[str, ...], ours: tuple[str, ...]) -> None:
        """Name the files, by prefix, that are no call sites; sites met before get another id."""
        with self._lock:
            self._prefixes, self._ours = tuple(prefixes), tuple(ours)
            self._sites.clear()
            self._stacks.clear()

    def site(self, frame: FrameType) -> tuple[int, int]:
        """Return id and flags of the place where a frame is; ids 0: beyond the cap."""
        code, lasti = frame.f_code, frame.f_lasti
        key = (id(code), lasti)
        found = self._sites.get(key)
        if found is not None:
            return found
        name = getattr(code, "co_qualname", code.co_name)
        most_bytes = 24 + 4 * (len(code.co_filename) + len(name))
        if self._counts[Entry.SITE] >= self._caps.sites or self._is_full(most_bytes):
            self.sites_left_out += 1
            return 0, self._flags(code)
        with self._lock:
            if key not in self._sites:
                number, flags = self._next(Entry.SITE), self._flags(code)
                file = code.co_filename.encode("utf-8", "surrogatepass")
                head = struct.pack("<IIII", number, frame.f_lineno or 0, flags, len(file))
                self.put(Entry.SITE, head + file + name.encode("utf-8", "surrogatepass"))
                self._codes[id(code)] = code
                self._sites[key] = number, flags
                self._is_new |= not flags
            return self._sites[key]

    def place_met(self) -> None:
        """Tell who waits for it that code was met for the first time, if so."""
        if self._is_new:
            self._is_new = False
            if self.on_new_place:
                self.on_new_place()

    def _flags(self, code: CodeType) -> int:
        if code.co_filename.startswith(self._ours):
            return SITE_INTERNAL | SITE_OURS
        return SITE_INTERNAL if code.co_filename.startswith(self._prefixes) else 0

    def call_site(self, frame: FrameType | None) -> int:
        """Return the site of the innermost frame of the program's own, or else of the innermost."""
        innermost = 0
        hidden, known = (
            self._hidden,
            self._sites.get,
        )  # looked at for every op within NumPy's own code
        while frame is not None:
            code = id(frame.f_code)
            if code not in hidden:
                found, flags = known((code, frame.f_lasti)) or self.site(frame)
                if not flags & SITE_INTERNAL:
                    if self._is_new:
                        self.place_met()
                    return found
                innermost = innermost or found
            frame = frame.f_back
        return innermost

    def stack(self, frame: FrameType | None) -> int:
        """Return the id of a stack without hooks and without our outermost frames; 0: none."""
        path: list[tuple[int, int]] = []
        while frame is not None and len(path) < MAX_FRAMES:
            if id(frame.f_code) not in self._hidden:
                site = self.site(frame)
                if site[0]:
                    path.append(site)
            frame = frame.f_back
        while path and path[-1][1] & SITE_OURS:
            path.pop()
        parent = 0
        for site_id, _flags in reversed(path):
            inner = self._stack(parent, site_id)
            if (
                inner == parent
            ):  # beyond the cap: what is further in would look like a call from here
                break
            parent = inner
        return parent

    def _stack(self, parent: int, site_id: int) -> int:
        key = (parent, site_id)
        found = self._stacks.get(key)
        if found is not None:
            return found
        if self._counts[Entry.STACK] >= self._caps.stacks or self._is_full(20):
            self.stacks_left_out += 1
            return parent
        with self._lock:
            if key not in self._stacks:
                number = self._next(Entry.STACK)
                self.put(Entry.STACK, struct.pack("<III", number, parent, site_id))
                self._stacks[key] = number
            return self._stacks[key]
