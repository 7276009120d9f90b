"""Write a saved trace in another format."""

from __future__ import annotations

from pathlib import Path

from tinytrace.cli.options import Parser

EXAMPLES = """\
examples:
  python -m tinytrace export trace.json -o trace.json.gz
  python -m tinytrace export trace.json.gz -o run7 --format chrome
  python -m tinytrace export trace.json -o trace.speedscope.json
  python -m tinytrace export trace.json -o flame.html
  python -m tinytrace export trace.json -o ops.csv
"""


def main(argv: list[str]) -> int:
    """Read a trace and write it.

    Raises:
        InputError: it cannot be read.
        OutputError: it cannot be written.
        UsageError: options that make no sense.
    """
    from tinytrace.exporters.registry import exporter, formats

    names = list(formats())
    parser = Parser("export", "Write a saved trace in another format.", EXAMPLES)
    parser.add_argument("trace", help="a trace file, of tinytrace or of another tool")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="where to")
    known = "; ".join(f"{name}: {exporter(name).help}" for name in names)
    parser.add_argument(
        "--format",
        choices=names,
        help=f"default: by the ending of FILE. {known}".replace("%", "%%"),
    )
    arguments = parser.parse_args(argv)
    from tinytrace.analysis.reader import load
    from tinytrace.cli.saving import save

    save(load(arguments.trace), Path(arguments.output), name=arguments.format)
    return 0
