"""speedscope itself, as npm has it, opened on a file in Chromium."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.browser import Page
from tests.npm import package_folder

VERSION = "1.25.0"


def app_folder() -> Path:
    """The folder with the app's ``index.html``."""
    return package_folder("speedscope", VERSION) / "dist" / "release"


def open_in_speedscope(page: Page, path: Path, view: str = "sandwich") -> None:
    """Open a file in the app, as ``speedscope FILE`` on the command line does, and wait until it is shown.

    Args:
        page: where.
        path: the file.
        view: ``sandwich``, ``left-heavy`` or ``time-ordered``.
    """
    content = base64.b64encode(path.read_bytes()).decode()
    script = path.with_name(f"{path.name}.js")
    script.write_text(f"speedscope.loadFileFromBase64({json.dumps(path.name)}, '{content}')")
    index = (app_folder() / "index.html").as_uri()
    page.open("about:blank")  # a change of the fragment alone would load nothing
    page.open(f"{index}#view={view}&localProfilePath={script}")
    page.wait("document.body.innerText.includes('Sandwich')")


def profiles(page: Page) -> dict[str, str]:
    """The list of profiles, where there are several: name → total as shown."""
    rows = _cells(page, "tr[title]")
    return {name: total for _, name, total in rows}


def functions(page: Page) -> dict[str, tuple[str, str]]:
    """The sandwich view's table of functions: name → total and own time as shown."""
    rows = _cells(page, "tr:not([title]):has(td + td)")
    return {name: (total, own) for total, own, name in rows}


def _cells(page: Page, rows: str) -> list[list[str]]:
    texts = "[...row.children].map(cell => cell.textContent)"
    script = f"return [...document.querySelectorAll(arguments[0])].map(row => {texts})"
    cells: list[list[str]] = page.js(script, rows)
    return cells
