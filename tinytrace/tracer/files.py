"""Files that stay open while the program runs, and do not get in its way (in C: ``native/files.c``).

The program may close their numbers (daemons close all) and give them to files of its own: so a number is
checked before it is used. Low numbers are for the program: what it opens gets those it would get without us.
"""

from __future__ import annotations

import fcntl
import os
import resource

HIGHEST = 1024


class OwnFile:
    """An open file whose number is still ours when it is used.

    Args:
        path: absolute; the file is opened again by it.
        flags: of ``os.open``; not inherited in any case.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str, flags: int) -> None:
        self._path = path
        self._flags = flags & ~(os.O_CREAT | os.O_EXCL)
        self._fd = out_of_the_way(os.open(path, flags | os.O_CLOEXEC, 0o600))
        self._identity = file_identity(self._fd)

    def number(self) -> int:
        """Return its file descriptor, of today.

        Raises:
            OSError: the program has closed it, and it is not there any more.
        """
        if file_identity(self._fd) != self._identity:
            fd = os.open(self._path, self._flags | os.O_CLOEXEC)
            if file_identity(fd) != self._identity:
                os.close(fd)
                raise FileNotFoundError(2, os.strerror(2), self._path)
            self._fd = out_of_the_way(fd)
        return self._fd

    def close(self) -> None:
        """Close it, unless the program has done so."""
        if file_identity(self._fd) == self._identity:
            os.close(self._fd)
        self._identity = None


def file_identity(fd: int) -> tuple[int, int] | None:
    """Return what file is open under this number; None: nothing."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def out_of_the_way(fd: int) -> int:
    """Return the same open file under a high number, if there is one."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY or limit > HIGHEST:
        limit = HIGHEST
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, limit // 2)
    except OSError:
        return fd
    os.close(fd)
    return high
