"""A real terminal to print on, and what was printed there."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import threading
from collections.abc import Callable
from typing import TextIO


def printed_on_terminal(columns: int, print_on: Callable[[TextIO], None]) -> str:
    """Return what arrives on a terminal of this width, ``\\r\\n`` as ``\\n``."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
    received: list[bytes] = []

    def receive() -> None:
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other end is closed
                return
            if not piece:
                return
            received.append(piece)

    reader = threading.Thread(target=receive)
    reader.start()
    try:
        with os.fdopen(slave, "w", encoding="utf-8") as terminal:
            print_on(terminal)
    finally:
        reader.join()
        os.close(master)
    return b"".join(received).decode().replace("\r\n", "\n")
