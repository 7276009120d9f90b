"""The spans of one thread, as the recorder in Python writes them."""

from __future__ import annotations

from collections.abc import Callable

from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.segments import WORDS_PER_RECORD

# The last word of a span: distance to the parent (32 bits) | kind (8) | flags (8).
KIND_SHIFT, FLAGS_SHIFT = 32, 40
OPEN = Flag.OPEN << FLAGS_SHIFT
UINT32_MAX = 0xFFFFFFFF
MAX_DEPTH = 512  # open spans of one thread; deeper ones are dropped


class ThreadWriter:
    """The spans of one thread; only that thread writes.

    Attributes:
        index: the thread's number in this process.
        words: the current segment, as 64-bit words; record n begins at word
            ``n * WORDS_PER_RECORD + shift``.
        next: number of the next record, counted from the thread's first.
        end: number of the first record that does not fit in the segment.
        stack: the open spans, outermost first.
        open: those of them that end by a token: their segment and first word.
        opaque: an op runs whose inside is not recorded (`records.Policy.OPAQUE`).
        sampled_ns, sampled_cpu_ns: the sampler's: when it last saw this thread, its CPU clock then.
    """

    __slots__ = (
        "created_ns", "empty", "end", "generation", "ident", "index", "native_id", "next", "number",
        "opaque", "open", "rolling", "sampled_cpu_ns", "sampled_ns", "shift", "stack", "words",
    )  # fmt: skip

    def __init__(
        self, index: int, ident: int, native_id: int, generation: int, created_ns: int
    ) -> None:
        """Begin without a segment: the first span makes one."""
        self.index = index
        self.ident = ident
        self.native_id = native_id
        self.generation = generation
        self.created_ns = created_ns
        self.words = memoryview(b"")
        self.shift = self.next = self.end = self.number = self.empty = 0
        self.rolling = False
        self.opaque = 0
        self.stack: list[int] = []
        self.open: dict[int, tuple[memoryview, int]] = {}
        self.sampled_ns = self.sampled_cpu_ns = 0

    def begin(
        self, what: int, last: int, clock: Callable[[], int]
    ) -> tuple[int, memoryview, int, int]:
        """Begin a span, for which there must be room.

        Args:
            what: its third word.
            last: its fourth one without the distance to its parent.
            clock: gives its start, as late as possible.

        Returns:
            its number, its segment, its first word there, the distance to its parent (0: none).
        """
        n, stack = self.next, self.stack
        self.next = n + 1
        words, at = self.words, n * WORDS_PER_RECORD + self.shift
        up = n - stack[-1] if stack else 0
        if up > UINT32_MAX:
            up = 0
        stack.append(n)
        words[at + 2] = what
        words[at + 3] = up | last
        words[at] = clock()  # last: this makes it a record
        return n, words, at, up

    def finish(self, words: memoryview, at: int, n: int, end_ns: int, flags: int) -> None:
        """Complete span ``n``, whose first word is ``words[at]``, wherever it is in the stack."""
        stack = self.stack
        if n not in stack:
            return  # recording was closed, or the process forked, inside it
        if stack[-1] != n:
            flags |= Flag.DETACHED  # spans that began inside it are still open
        stack.remove(n)
        words[at + 1] = max(0, end_ns - words[at])
        words[at + 3] = words[at + 3] & ((1 << FLAGS_SHIFT) - 1) | flags << FLAGS_SHIFT

    def discard(self, words: memoryview, at: int, n: int) -> None:
        """Leave span ``n`` out: its slot is given back if it is the last one, else left empty."""
        if n not in self.stack:
            return
        self.stack.remove(n)
        words[at] = words[at + 1] = words[at + 2] = words[at + 3] = 0
        if self.next == n + 1 and words is self.words:
            self.next = n
        else:
            self.empty += 1

    def around(self) -> tuple[int, int]:
        """Return label and number of the innermost open span that is an op with arguments; 0, 0: none."""
        for n in reversed(self.stack):
            words, at = self.open.get(n, (None, 0))
            if words is not None and words[at + 3] >> KIND_SHIFT & 0xFF == Kind.LABELLED_OP:
                return words[at + 2] & UINT32_MAX, n
        return 0, 0

    def let_go(self) -> None:
        """Write nothing any more, not even ends of open spans; the map goes with its last user."""
        self.end = 0
        self.stack.clear()
        self.open.clear()
        self.words = memoryview(b"")


class ThreadEnd:
    """Lies in a thread's local storage; calls ``retire`` with its writer when the thread ends."""

    def __init__(self, writer: ThreadWriter, retire: Callable[[ThreadWriter], None]) -> None:
        self._writer = writer
        self._retire = retire

    def __del__(self) -> None:
        self._retire(self._writer)
