"""A flame graph of the stack samples: one SVG, or one HTML page around it, that needs nothing else.

A box per path of functions, as wide as the wall time that its samples stand for; callers above. All boxes are in
the document, so that it can be seen where no script runs; the script adds zoom, search and the keyboard.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import BinaryIO

import numpy as np

from tinytrace.analysis.figures import format_ns
from tinytrace.analysis.flame_tree import FlameTree, flame_trees
from tinytrace.exporters.markup import escaped, percent
from tinytrace.exporters.registry import Progress
from tinytrace.exporters.stacks import (
    NO_STACK,
    file_of,
    function_of,
    is_library,
    label_in_all,
)
from tinytrace.tracer.trace import Trace

# Narrower boxes are no pixel wide on a screen of 5,000; a page then has some thousands of them at most.
MIN_SHARE = 1 / 5000
ROW_PX = 18
SVG_WIDTH_PX = 1200
SVG_HEAD_PX = 66
MAX_LINES_TOLD = 5
BOXES_PER_PIECE = 1000
COLOURS = "Orange: the program; blue: libraries; pale: the own time of a line."
HOW_TO = "Click or Enter: zoom in. Esc: back. Arrow keys: go from box to box."


class FlameSvgExporter:
    """A flame graph as SVG."""

    name = "flamegraph"
    suffix = ".svg"
    help = "flame graph of the stack samples, one picture for a browser"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write the picture; see `tinytrace.exporters.registry.Exporter`."""
        _write(_svg_file(_Graph(trace)), out, progress)


class FlameHtmlExporter:
    """A flame graph as an HTML page."""

    name = "flamegraph-html"
    suffix = ".html"
    help = "flame graph of the stack samples, one page without network access"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write the page; see `tinytrace.exporters.registry.Exporter`."""
        _write(_page(_Graph(trace)), out, progress)


def _write(texts: Iterator[str], out: BinaryIO, progress: Progress | None) -> None:
    for text in texts:
        out.write(text.encode())
    if progress is not None:
        progress(1.0)


@dataclass(frozen=True)
class _Box:
    """A rectangle: level 0 is all, 1 a thread, from 2 on functions."""

    level: int
    start_ns: int
    dur_ns: int
    label: str
    title: str
    look: str


class _Graph:
    """The boxes of a trace, and what is said about them."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._trees = flame_trees(trace, MIN_SHARE)
        self.total_ns = sum(tree.total_ns for tree in self._trees)
        self.levels = max(
            (int(tree.depth.max()) + 4 if len(tree) else 2 for tree in self._trees), default=0
        )
        samples = sum(tree.samples for tree in self._trees)
        threads = len(self._trees)
        self.summary = (
            f"{format_ns(self.total_ns)} of wall time in {samples:,} stack samples of "
            f"{threads} thread{'s' * (threads != 1)}. Width is time, not order; callers are above what they call."
            if threads
            else "No stack samples in this trace."
        )

    def boxes(self) -> Iterator[_Box]:
        """Yield the boxes, callers before what they called, left to right."""
        if not self._trees:
            return
        yield _Box(
            0, 0, self.total_ns, "all threads", f"all threads\n{format_ns(self.total_ns)}", "t"
        )
        start_ns = 0
        for tree in sorted(self._trees, key=lambda tree: (-tree.total_ns, tree.thread)):
            yield from self._thread(tree, start_ns)
            start_ns += tree.total_ns

    def _thread(self, tree: FlameTree, start_ns: int) -> Iterator[_Box]:
        name = label_in_all(self._trace, tree.thread)
        drawn_ns = int(tree.total_ns_of[tree.parent < 0].sum()) + tree.no_stack_ns
        told = f"{name}\n{self._time(tree.total_ns)}"
        if tree.total_ns > drawn_ns:
            told += f"\n{format_ns(tree.total_ns - drawn_ns)} of it in boxes too narrow to be drawn"
        yield _Box(1, start_ns, tree.total_ns, name, told, "t")
        end_ns = start_ns
        for row, line, box_ns in _preorder(tree, start_ns):
            yield (
                self._box(tree, row, box_ns)
                if line is None
                else self._line(tree, row, line, box_ns)
            )
            if line is None and tree.parent[row] < 0:
                end_ns = box_ns + int(tree.total_ns_of[row])
        if tree.no_stack_ns:
            told = f"{NO_STACK}\n{self._time(tree.no_stack_ns)}"
            yield _Box(2, end_ns, tree.no_stack_ns, NO_STACK, told, "t")

    def _box(self, tree: FlameTree, row: int, start_ns: int) -> _Box:
        frame_id, total_ns = int(tree.frame_id[row]), int(tree.total_ns_of[row])
        function, file = function_of(self._trace, frame_id), file_of(self._trace, frame_id)
        place = file.rpartition("/")[2]
        told = [function, file] if file else [function]
        told.append(f"{self._time(total_ns)}, {format_ns(int(tree.self_ns_of[row]))} in itself")
        lines = [(line, ns) for line, ns in tree.lines[row] if line > 0]
        if lines:
            shares = [f"{line} ({percent(ns, total_ns)})" for line, ns in lines[:MAX_LINES_TOLD]]
            more = f", {len(lines) - MAX_LINES_TOLD} more" if len(lines) > MAX_LINES_TOLD else ""
            told.append(f"line{'s' * (len(lines) > 1)} {', '.join(shares)}{more}")
        return _Box(
            int(tree.depth[row]) + 2,
            start_ns,
            total_ns,
            f"{function} ({place})" if place else function,
            "\n".join(told),
            _look(function, file),
        )

    def _line(self, tree: FlameTree, row: int, line: tuple[int, int], start_ns: int) -> _Box:
        """The time that a function spent in one of its lines, and in nothing that it called there."""
        frame_id, (number, own_ns) = int(tree.frame_id[row]), line
        function, file = function_of(self._trace, frame_id), file_of(self._trace, frame_id)
        return _Box(
            int(tree.depth[row]) + 3,
            start_ns,
            own_ns,
            f"{file.rpartition('/')[2]}:{number}",
            f"line {number} of {function}\n{file}\n{self._time(own_ns)} in this line itself",
            f"{_look(function, file)[0]}line",
        )

    def _time(self, ns: int) -> str:
        return f"{format_ns(ns)} of wall time ({percent(ns, self.total_ns)})"


def _preorder(tree: FlameTree, start_ns: int) -> Iterator[tuple[int, tuple[int, int] | None, int]]:
    """Yield the boxes and where they begin, callers first, then the widest first; at last a box's own lines.

    Each is a row of the tree, the line and its own time (None: the whole box), and the start.
    """
    inside: dict[int, list[int]] = {}
    for row in np.argsort(-tree.total_ns_of, kind="stable").tolist():
        inside.setdefault(int(tree.parent[row]), []).append(row)
    todo: list[tuple[int, tuple[int, int] | None, int]] = []

    def place(row: int, at_ns: int) -> None:
        """Put what is in a box on the pile, the first one on top."""
        placed: list[tuple[int, tuple[int, int] | None, int]] = []
        for child in inside.get(row, []):
            placed.append((child, None, at_ns))
            at_ns += int(tree.total_ns_of[child])
        for line in tree.own_lines[row] if row >= 0 else ():
            if line[0] > 0:
                placed.append((row, line, at_ns))
            at_ns += line[1]
        todo.extend(reversed(placed))

    place(-1, start_ns)
    while todo:
        row, line, at_ns = todo.pop()
        yield row, line, at_ns
        if line is None:
            place(row, at_ns)


def _look(function: str, file: str) -> str:
    """Return the class of a box: whose code it is, and one of three shades that tell neighbours apart."""
    return f"{'l' if is_library(file) else 'm'}{zlib.crc32(f'{function}{file}'.encode()) % 3}"


def _flame(graph: _Graph, top_px: int, attributes: str, extra: str) -> Iterator[str]:
    """Yield the `svg` element."""
    height_px = top_px + graph.levels * ROW_PX
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="flame" {attributes} height="{height_px}" '
        f'role="group" aria-label="Flame graph. {escaped(HOW_TO)}">\n{extra}'
    )
    pieces: list[str] = []
    whole_ns = max(graph.total_ns, 1)
    for box in graph.boxes():
        x, width = (f"{100 * ns / whole_ns:.5f}%" for ns in (box.start_ns, box.dur_ns))
        pieces.append(
            f'<svg class="box {box.look}" data-level="{box.level}" x="{x}" width="{width}" '
            f'y="{top_px + box.level * ROW_PX}" height="{ROW_PX}" tabindex="-1" role="button">'
            f"<title>{escaped(box.title)}</title>"
            f'<rect width="100%" height="{ROW_PX}"/>'
            f'<text x="4" y="13">{escaped(box.label)}</text></svg>\n'
        )
        if len(pieces) >= BOXES_PER_PIECE:
            yield "".join(pieces)
            pieces.clear()
    yield "".join([*pieces, "</svg>\n"])


def _svg_file(graph: _Graph) -> Iterator[str]:
    extra = (
        f"<style>{_asset('flamegraph.css')}</style>\n"
        '<rect width="100%" height="100%" style="fill: var(--page)"/>\n'
        f'<text x="4" y="16">{escaped(graph.summary)}</text>\n'
        '<text id="search" class="button" x="4" y="36" role="button">Search</text>\n'
        '<text id="reset" class="button" x="70" y="36" role="button" visibility="hidden">Zoom out</text>\n'
        '<text id="matches" class="quiet" x="150" y="36"></text>\n'
        f'<text id="told" class="quiet" x="4" y="56">{escaped(COLOURS)} {escaped(HOW_TO)}</text>\n'
    )
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    whole = "".join(_flame(graph, SVG_HEAD_PX, f'width="{SVG_WIDTH_PX}"', extra))
    yield whole.removesuffix("</svg>\n")
    yield f"<script><![CDATA[\n{_asset('flamegraph.js')}]]></script>\n</svg>\n"


def _page(graph: _Graph) -> Iterator[str]:
    yield f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>tinytrace flame graph</title>
<style>{_asset("flamegraph.css")}{_asset("flamegraph-page.css")}</style>
</head>
<body>
<main>
<h1>Flame graph</h1>
<p>{escaped(graph.summary)}</p>
<p class="controls">
<label>Search <input id="search" type="search" placeholder="function or file" autocomplete="off"></label>
<button id="reset" type="button">Zoom out</button>
<span id="matches" role="status"></span>
</p>
<p class="legend"><span class="mine">the program</span>
<span class="library">libraries</span> <span class="mine-line">own time of a line</span>
<span class="thread">threads</span></p>
"""
    yield from _flame(graph, 0, 'width="100%"', "")
    yield f"""<p id="told" role="status">{escaped(HOW_TO)}</p>
</main>
<script>
{_asset("flamegraph.js")}</script>
</body>
</html>
"""


@cache
def _asset(name: str) -> str:
    return (files("tinytrace.exporters") / "assets" / name).read_text(encoding="utf-8")
