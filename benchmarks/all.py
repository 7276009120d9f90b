"""All benchmarks, one after the other, on this machine; a table of all figures.

    python benchmarks/all.py --markdown

prints the part of docs/benchmarks.md between its two marks. About half an hour; nothing else should run
meanwhile.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from paired import Figure, line, markdown_table, parser, read_figures

from tinytrace.tracer.machine import machine

SCRIPTS = {
    "op_cost": "What recording adds to an operation",
    "span_clock": "Whether the clock of operations agrees with the system's",
    "sampling_slowdown": "What sampling costs",
    "training_slowdown": "What a training run costs",
    "framework_slowdown": "What seeing a framework's layers and nodes costs",
    "torch_overhead": "What a training step of PyTorch costs",
    "phase_shares": "Whether samples say the truth",
    "json_speed": "Writing and reading a trace",
    "export_speed": "Exporting a trace",
    "report_speed": "Making a report",
    "merge_speed": "Merging the ranks of a job",
    "memory": "Memory and disk",
    "start_stop": "Import, start and stop",
    "roofs": "Whether roofs are those that other programs find",
    "agreement": "Whether our figures are those that other programs find",
    "peers": "Beside other profilers",
}
FOLDER = Path(__file__).parent


def conditions() -> str:
    """Return what the figures hold for: the machine, the versions, and whether it was busy."""
    here = machine()
    packages = ("numpy", "orjson", "py-spy", "viztracer", "torch")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    load = os.getloadavg()[0]
    return (
        f"{time.strftime('%Y-%m-%d')}; {here['cpu']}, {here['cpu_count']} CPUs, {here['system']} "
        f"{here['release']}; {platform.python_implementation()} {here['python']}, {versions}; "
        f"load before the first: {load:.1f}."
    )


def measure(name: str, passed_on: list[str]) -> list[Figure]:
    """Run one script.

    Raises:
        CalledProcessError: it failed; it has said why.
    """
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--json", *passed_on]
    return read_figures(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode())


def main() -> None:
    """Measure and print; a script that fails is named at the end, and the others are run."""
    arguments = parser(__doc__)
    arguments.add_argument("--markdown", action="store_true", help="tables of Markdown")
    arguments.add_argument("names", nargs="*", help=f"these alone: {', '.join(SCRIPTS)}")
    options = arguments.parse_args()
    unknown = sorted(set(options.names) - set(SCRIPTS))
    if unknown:
        arguments.error(f"no such benchmark: {', '.join(unknown)}")
    passed_on = ["--quick"] if options.quick else []
    passed_on += ["--rounds", str(options.rounds)] if options.rounds else []
    text = not options.json
    if text:
        print(conditions(), flush=True)
    everything: list[dict[str, object]] = []
    failed = []
    for name in options.names or SCRIPTS:
        try:
            figures = measure(name, passed_on)
        except subprocess.CalledProcessError:
            failed.append(name)
            continue
        everything += [{"script": name, **figure.to_json()} for figure in figures]
        if options.markdown:
            print(f"\n### {SCRIPTS[name]} (`{name}.py`)\n\n{markdown_table(figures)}", flush=True)
        elif text:
            print(f"\n{SCRIPTS[name]} ({name}.py)", *map(line, figures), sep="\n", flush=True)
    if options.json:
        print(json.dumps(everything))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
