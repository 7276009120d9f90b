"""Hardware counters where the core is not compiled: a file per event, by system calls (in C: ``native/events.c``).

Everything here keeps the interpreter's lock, as `counters.resident_reader` does, and for the same reason.
"""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

from tinytrace.tracer.files import out_of_the_way

# perf_event_open: https://man7.org/linux/man-pages/man2/perf_event_open.2.html; its number differs by machine.
NUMBERS = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319}
CLOSE_ON_EXEC = 8  # PERF_FLAG_FD_CLOEXEC
ID_OF_EVENT = 0x80082407  # PERF_EVENT_IOC_ID; powerpc has another encoding of what is read
ID_OF_EVENT_POWERPC = 0x40082407
KIND = b"anon_inode:[perf_event]"


class EventFiles:
    """Opens, reads and closes events by ctypes.

    Raises:
        OSError: this machine's number of the system call is not known.
    """

    def __init__(self) -> None:
        """Find the functions of the C library."""
        machine = platform.machine()
        if machine not in NUMBERS:
            raise OSError(f"no number of perf_event_open is known for {machine}")
        self._number = NUMBERS[machine]
        self._ask = ID_OF_EVENT_POWERPC if machine == "ppc64le" else ID_OF_EVENT
        libc = ctypes.PyDLL(None, use_errno=True)
        self._syscall, self._ioctl = libc.syscall, libc.ioctl
        self._read, self._readlink = libc.read, libc.readlink
        self._syscall.restype = ctypes.c_long
        self._read.restype = self._readlink.restype = ctypes.c_ssize_t
        self._words = (ctypes.c_uint64 * 4)()
        self._kind = ctypes.create_string_buffer(len(KIND) + 1)

    def event_open(self, attributes: bytes) -> tuple[int, int]:
        """Return the number of the file, a high one, and the kernel's number of the event.

        Raises:
            OSError: the kernel does not count this, or not for us.
        """
        long = ctypes.c_long
        found = self._syscall(
            long(self._number), attributes, long(0), long(-1), long(-1), long(CLOSE_ON_EXEC)
        )
        if found < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        fd = out_of_the_way(int(found))
        event = self._event(fd)
        if event is None:
            os.close(fd)
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return fd, event

    def event_read(self, fd: int, event: int) -> tuple[int, int, int] | None:
        """Return value, ns enabled and ns running; None: the file is not this event any more."""
        if not self._is(fd, event):
            return None
        words: Any = self._words
        count = self._read(fd, words, ctypes.c_size_t(ctypes.sizeof(words)))
        if count != ctypes.sizeof(words) or words[3] != event:
            return None
        return words[0], words[1], words[2]

    def event_close(self, fd: int, event: int) -> None:
        """Close it, unless the program has done so."""
        if self._is(fd, event):
            os.close(fd)

    def _is(self, fd: int, event: int) -> bool:
        """Whether this is it: all anonymous files have the same inode, and no other may be asked for such a number."""
        path, room = b"/proc/self/fd/%d" % fd, ctypes.c_size_t(len(self._kind))
        count = self._readlink(path, self._kind, room)
        return count > 0 and self._kind.raw[:count] == KIND and self._event(fd) == event

    def _event(self, fd: int) -> int | None:
        number = ctypes.c_uint64()
        failed = self._ioctl(fd, ctypes.c_ulong(self._ask), ctypes.byref(number))
        return None if failed else number.value
