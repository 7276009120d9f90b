"""How much may be interned in one process: for both recorders, which are told by `Recorder.caps`.

What is interned is kept in memory until recording ends, and that should take less than 100 MB whatever the
program does. An entry takes, keys and tables of hashes included, with signatures of two or three operands:

=============  ===========  ========  =========  ========
of             entries      compiled  in Python  at most
=============  ===========  ========  =========  ========
call sites     65,536          64 B      270 B     18 MB
signatures     131,072        150 B      260 B     34 MB
stacks         131,072         40 B      250 B     33 MB
=============  ===========  ========  =========  ========

Programs have some thousand call sites and stacks; signatures are many where shapes vary, as those of
texts of any length do. On disk all of it is below `disk_limit.MAX_TABLES_BYTES`; a small disk limit sets a
lower bound. What is beyond is still recorded, only less is known of it:

* a call site: none;
* a signature: the op alone, of which there are so many at most;
* a stack: its outer part;
* a name: `FURTHER_NAMES` for a label or an op; a counter's values are left out.

How often that was the case is in the self-audit (``sites_left_out`` …), and a warning says it.
"""

from __future__ import annotations

from typing import NamedTuple

FURTHER_NAMES = "(further names)"


class Caps(NamedTuple):
    """How much may be interned."""

    sites: int
    signatures: int
    bare_signatures: int  # ops without operands, not among those
    stacks: int
    name_bytes: int  # UTF-8, of ops, labels and series: arguments as JSON are part of a label


CAPS = Caps(
    sites=65_536,
    signatures=131_072,
    bare_signatures=4_096,
    stacks=131_072,
    name_bytes=64_000_000,
)
