"""`Trace`: what was recorded, as one immutable value made of columns.

Integer nanoseconds on CLOCK_MONOTONIC everywhere. Facts only: FLOPs, bytes and verdicts are derived
from the signatures in `tinytrace.analysis`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.records import Layout

Column = NDArray[Any]
Derived = TypeVar("Derived")


class Table:
    """A frozen dataclass of equally long one-dimensional columns."""

    DTYPES: ClassVar[dict[str, str]] = {}

    def __post_init__(self) -> None:
        lengths = set()
        for name, dtype in self.DTYPES.items():
            column = np.ascontiguousarray(getattr(self, name), dtype=dtype)
            if column.ndim != 1:
                raise ValueError(f"{type(self).__name__}.{name} must be one-dimensional")
            column.flags.writeable = False
            object.__setattr__(self, name, column)
            lengths.add(len(column))
        if len(lengths) > 1:
            raise ValueError(f"{type(self).__name__}: columns differ in length: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(getattr(self, next(iter(self.DTYPES))))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, n), getattr(other, n), equal_nan=d == "f8")
            for n, d in self.DTYPES.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def columns(self) -> Iterator[tuple[str, Column]]:
        """Yield each column with its name."""
        for name in self.DTYPES:
            yield name, getattr(self, name)

    def take(self, rows: Column | slice) -> Any:
        """Return the table of these rows (an index array, a mask or a slice)."""
        return type(self)(**{name: column[rows] for name, column in self.columns()})

    def derived(self, name: str, make: Callable[[], Derived]) -> Derived:
        """Return what follows from the columns, made once: they do not change.

        Args:
            name: of what is kept.
            make: makes it; called at the first time.
        """
        kept = self.__dict__
        if name not in kept:
            kept[name] = make()
        return cast("Derived", kept[name])

    @classmethod
    def empty(cls) -> Any:
        """Return the table without rows."""
        return cls(**{name: np.empty(0, dtype) for name, dtype in cls.DTYPES.items()})


@dataclass(frozen=True, eq=False)
class Spans(Table):
    """Operations, user spans, steps, layers… Sorted by thread, then start; parents before children.

    ``name_id`` and ``args_id`` index ``Trace.strings`` (``args_id`` −1: none; else a JSON object);
    ``kind`` is a `records.Kind`, ``flags`` are `records.Flag` bits; ``thread`` indexes
    ``Trace.threads``; ``parent`` is a row of this table or −1; ``signature_id`` indexes
    ``Trace.signatures`` or is −1; ``callsite_id`` indexes ``Trace.frames`` or is −1; ``step`` is the
    number of the step that the span began in, or −1.
    """

    DTYPES: ClassVar = {
        "start_ns": "i8", "dur_ns": "i8", "name_id": "i4", "kind": "u1", "flags": "u1",
        "thread": "i4", "parent": "i4", "signature_id": "i4", "callsite_id": "i4", "step": "i4",
        "args_id": "i4",
    }  # fmt: skip
    start_ns: Column
    dur_ns: Column
    name_id: Column
    kind: Column
    flags: Column
    thread: Column
    parent: Column
    signature_id: Column
    callsite_id: Column
    step: Column
    args_id: Column


@dataclass(frozen=True, eq=False)
class Aggregates(Table):
    """Spans that were folded together to bound disk, memory or file size: one row per group,
    or one per stretch of time that a group lies in.

    ``args_id`` is that of `Spans`; ``outer_args_id`` that of the nearest op with arguments around them
    (``tt.op``: figures in it stand for all that ran inside), −1 = none. ``ended`` of the ``count`` spans ended
    normally, and ``leaves`` of these had no op inside (only those have the FLOPs and bytes of their
    signature). ``self_ns`` is time not spent in child spans; the group's spans lie in ``start_ns``…``end_ns``.
    """

    DTYPES: ClassVar = {
        "name_id": "i4", "kind": "u1", "thread": "i4", "signature_id": "i4", "callsite_id": "i4",
        "count": "i8", "leaves": "i8", "total_ns": "i8", "self_ns": "i8", "min_ns": "i8",
        "max_ns": "i8", "start_ns": "i8", "end_ns": "i8", "args_id": "i4", "outer_args_id": "i4",
        "ended": "i8",
    }  # fmt: skip
    name_id: Column
    kind: Column
    thread: Column
    signature_id: Column
    callsite_id: Column
    count: Column
    leaves: Column
    total_ns: Column
    self_ns: Column
    min_ns: Column
    max_ns: Column
    start_ns: Column
    end_ns: Column
    args_id: Column
    outer_args_id: Column
    ended: Column


@dataclass(frozen=True, eq=False)
class Samples(Table):
    """Stack samples, sorted by thread, then time.

    A sample stands for the ``weight_ns`` that end at ``t_ns``; ``cpu_ns`` is the CPU time that its
    thread used in them (−1: not known); ``stack_id`` indexes ``Trace.stacks``.
    """

    DTYPES: ClassVar = {
        "t_ns": "i8", "weight_ns": "i8", "cpu_ns": "i8", "thread": "i4", "stack_id": "i4",
    }  # fmt: skip
    t_ns: Column
    weight_ns: Column
    cpu_ns: Column
    thread: Column
    stack_id: Column

    @property
    def on_cpu(self) -> Column:
        """Bool per sample: the thread ran for at least half of it (false too where not known)."""
        return (self.cpu_ns >= 0) & (2 * self.cpu_ns >= self.weight_ns)


@dataclass(frozen=True, eq=False)
class Frames(Table):
    """Places in code: function name and file (``Trace.strings``; −1: not known) and line (0: not known)."""

    DTYPES: ClassVar = {"name_id": "i4", "file_id": "i4", "line": "i4"}
    name_id: Column
    file_id: Column
    line: Column


@dataclass(frozen=True, eq=False)
class Stacks(Table):
    """A prefix tree: the innermost frame (``Trace.frames``) and the stack that called it, −1 = root."""

    DTYPES: ClassVar = {"frame_id": "i4", "parent": "i4"}
    frame_id: Column
    parent: Column


@dataclass(frozen=True, eq=False)
class Counters(Table):
    """Values of the series in ``Trace.series``, sorted by series, then time."""

    DTYPES: ClassVar = {"t_ns": "i8", "series_id": "i4", "value": "f8"}
    t_ns: Column
    series_id: Column
    value: Column


@dataclass(frozen=True, eq=False)
class Series(Table):
    """Names and units (``Trace.strings``) of counters, and the process they belong to."""

    DTYPES: ClassVar = {"name_id": "i4", "unit_id": "i4", "process": "i4"}
    name_id: Column
    unit_id: Column
    process: Column


@dataclass(frozen=True, eq=False)
class Flows(Table):
    """Arrows between spans (rows of ``Trace.spans``); ``kind_id`` indexes ``Trace.strings``."""

    DTYPES: ClassVar = {"from_span": "i4", "to_span": "i4", "kind_id": "i4"}
    from_span: Column
    to_span: Column
    kind_id: Column


@dataclass(frozen=True, eq=False)
class Processes(Table):
    """One row per process; ``parent`` is a row of this table or −1."""

    DTYPES: ClassVar = {
        "pid": "i8",
        "name_id": "i4",
        "start_ns": "i8",
        "end_ns": "i8",
        "parent": "i4",
    }
    pid: Column
    name_id: Column
    start_ns: Column
    end_ns: Column
    parent: Column


@dataclass(frozen=True, eq=False)
class Threads(Table):
    """One row per thread: its process, native thread id, and name."""

    DTYPES: ClassVar = {"process": "i4", "tid": "i8", "name_id": "i4"}
    process: Column
    tid: Column
    name_id: Column


@dataclass(frozen=True, slots=True)
class Operand:
    """One array (or scalar) that an operation read or wrote.

    Attributes:
        dtype: NumPy's name (``float32``); ``int``/``float``/``complex``/``bool`` for a Python scalar;
            ``object`` for something that is not an array; of a tuple or list of Python numbers that of
            the array that NumPy makes of it.
        shape: () for scalars.
        layout: how it lies in memory.
        strides: in bytes, given for `Layout.STRIDED` only.
        alias: index of an earlier operand with the same memory, shape and strides; −1 = none.
        itemsize: bytes per element.
    """

    dtype: str
    shape: tuple[int, ...]
    layout: Layout = Layout.C
    strides: tuple[int, ...] = ()
    alias: int = -1
    itemsize: int = 8

    @property
    def elements(self) -> int:
        """Number of elements: the product of the shape."""
        n = 1
        for d in self.shape:
            n *= d
        return n

    @property
    def is_array(self) -> bool:
        """Whether this is an array, not a scalar nor a foreign object."""
        return self.layout <= Layout.STRIDED


@dataclass(frozen=True, slots=True)
class Signature:
    """What decides the cost of an operation: op, operands, and the arguments that matter.

    ``operands`` holds the inputs first, then the outputs. ``attributes`` is text such as
    ``"axis=1"`` or ``"ij,jk->ik"``, arguments separated by ``;``; a leading ``+`` says that operands were left out.
    """

    op: str
    operands: tuple[Operand, ...]
    n_inputs: int
    attributes: str = ""

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """Operands that are read."""
        return self.operands[: self.n_inputs]

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """Operands that are written."""
        return self.operands[self.n_inputs :]


@dataclass(frozen=True)
class Trace:
    """Everything that one run recorded. Compare with ``==``; nothing in it can be changed.

    ``meta`` is JSON-ready: ``format_version``, ``command``, ``machine``, ``conventions``,
    ``audit`` (the self-audit) and whatever a foreign trace brought along. ``warnings`` says what
    could not be seen.
    """

    strings: tuple[str, ...] = ()
    signatures: tuple[Signature, ...] = ()
    spans: Spans = field(default_factory=Spans.empty)
    aggregates: Aggregates = field(default_factory=Aggregates.empty)
    samples: Samples = field(default_factory=Samples.empty)
    stacks: Stacks = field(default_factory=Stacks.empty)
    frames: Frames = field(default_factory=Frames.empty)
    counters: Counters = field(default_factory=Counters.empty)
    series: Series = field(default_factory=Series.empty)
    flows: Flows = field(default_factory=Flows.empty)
    processes: Processes = field(default_factory=Processes.empty)
    threads: Threads = field(default_factory=Threads.empty)
    meta: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def differences(self, other: Trace) -> list[str]:
        """Names of the fields in which the two differ: [] for equal traces."""
        return [f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)]

    def to_pandas(self) -> dict[str, Any]:
        """Return the tables as pandas data frames, by name.

        ``spans``, ``aggregates``, ``samples``, ``stacks``, ``frames``, ``counters``, ``series``, ``flows``,
        ``processes``, ``threads``, ``signatures``: the columns of this class with texts (categories) in place of
        numbers of strings, ``raised``, ``open`` and ``detached`` in place of ``flags``, and ``file``, ``line`` and
        ``function`` beside each ``callsite_id``. Other numbers of rows stay what they are; −1: none.

        Raises:
            UsageError: pandas is not installed.
        """
        from tinytrace.tracer.dataframes import to_pandas

        return to_pandas(self)

    def to_arrow(self) -> dict[str, Any]:
        """Return the tables as `pyarrow.Table`, by name: those of `to_pandas`, texts as dictionaries.

        Raises:
            UsageError: pyarrow is not installed.
        """
        from tinytrace.tracer.dataframes import to_arrow

        return to_arrow(self)

    @property
    def start_ns(self) -> int:
        """The earliest time in the trace; 0 for an empty one."""
        starts = [
            int(column.min())
            for column in (
                self.spans.start_ns, self.samples.t_ns - self.samples.weight_ns,
                self.counters.t_ns, self.processes.start_ns, self.aggregates.start_ns,
            )
            if len(column)
        ]  # fmt: skip
        return min(starts, default=0)

    @property
    def end_ns(self) -> int:
        """The latest time in the trace; 0 for an empty one."""
        ends = [
            int(column.max())
            for column in (
                self.spans.start_ns + self.spans.dur_ns, self.samples.t_ns,
                self.counters.t_ns, self.processes.end_ns, self.aggregates.end_ns,
            )
            if len(column)
        ]  # fmt: skip
        return max(ends, default=0)
