"""What is kept from one run to the next: whole, or as if there were nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.peaks_by_hand import roofs
from tinytrace.analysis import peaks_cache

NAME = "0123456789abcdef"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own, not made yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tinytrace"


def test_what_is_kept_is_found_again_and_nothing_else_lies_there(cache: Path) -> None:
    path = peaks_cache.store(roofs())
    assert path == cache / f"peaks-{NAME}.json"
    assert peaks_cache.load(NAME) == roofs()
    peaks_cache.store(replace(roofs(), quick=True))
    assert peaks_cache.load(NAME) == replace(roofs(), quick=True)
    assert [p.name for p in cache.iterdir()] == [path.name]


def test_nothing_is_kept_for_another_machine(cache: Path) -> None:
    path = peaks_cache.store(roofs())
    assert peaks_cache.load("f" * 16) is None
    path.rename(cache / f"peaks-{'f' * 16}.json")
    assert peaks_cache.load("f" * 16) is None


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x00\xff", b"{", b"null", b"[]", b"[" * 100_000, b'{"form": 1}', b"9" * 5000,
        json.dumps({**roofs().to_json(), "form": 0}).encode(),
        json.dumps({**roofs().to_json(), "levels": 3}).encode(),
        json.dumps(roofs().to_json()).encode()[:-1],
        json.dumps(roofs().to_json()).encode() + b" " * peaks_cache.LARGEST_BYTES,
    ],
    ids=range(12),
)  # fmt: skip
def test_files_that_are_broken_old_or_hostile_are_as_good_as_none(
    cache: Path, content: bytes
) -> None:
    cache.mkdir(parents=True)
    (cache / f"peaks-{NAME}.json").write_bytes(content)
    assert peaks_cache.load(NAME) is None
    peaks_cache.store(roofs())
    assert peaks_cache.load(NAME) == roofs()


def test_a_folder_in_place_of_the_file_is_none_and_an_error_to_write(cache: Path) -> None:
    (cache / f"peaks-{NAME}.json" / "in the way").mkdir(parents=True)
    assert peaks_cache.load(NAME) is None
    with pytest.raises(OSError, match=r"directory"):
        peaks_cache.store(roofs())
    assert [p.name for p in cache.iterdir()] == [f"peaks-{NAME}.json"]


def test_a_cache_that_cannot_be_made_is_an_error_to_write_and_none_to_read(cache: Path) -> None:
    cache.parent.write_text("no folder")
    assert peaks_cache.load(NAME) is None
    with pytest.raises(OSError, match=r"[Nn]ot a directory|exists"):
        peaks_cache.store(roofs())


def test_the_place_is_that_of_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/does/not/count")
    for platform, place in (("linux", ".cache"), ("darwin", "Library/Caches")):
        monkeypatch.setattr("sys.platform", platform)
        assert peaks_cache.folder() == tmp_path / place / "tinytrace"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert peaks_cache.folder() == tmp_path / "local" / "tinytrace" / "Cache"


def test_who_has_no_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert peaks_cache.load(NAME) is None
    with pytest.raises(OSError, match=r"no home"):
        peaks_cache.store(roofs())
