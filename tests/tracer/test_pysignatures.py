"""Signatures of the Python recorder: a call that is recognised has the one that it would be described by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytrace.tracer import pysignatures
from tinytrace.tracer.pyarrays import ArrayReader
from tinytrace.tracer.pyoperands import Hook
from tinytrace.tracer.pysignatures import Signatures
from tinytrace.tracer.records import Policy


class Keys:
    """Gives ids to keys, and counts how often it is asked."""

    def __init__(self) -> None:
        self.ids: dict[bytes, int] = {}
        self.asked = 0

    def __call__(self, key: bytes) -> int:
        self.asked += 1
        return self.ids.setdefault(key, len(self.ids) + 1)


def hook(policy: int = 0) -> Hook:
    return Hook(op=1, policy=policy, n_in=-1, bare=1, bound=False)


def one(signatures: Signatures, hooked: Hook, *args: Any) -> int:
    return signatures.of(hooked, 1, args, {}, ())


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def signatures(keys: Keys) -> Signatures:
    return Signatures(ArrayReader(np), keys)


def test_an_ordinary_call_is_described_once(keys: Keys, signatures: Signatures) -> None:
    hooked, x = hook(Policy.ATTRIBUTES), np.ones((2, 3))
    calls: list[tuple[Any, ...]] = [
        (x, 1), (x.T, 1.0), ([x, x], 0), (x, (0, 1)), (x, ((1, 1), (2, 2))), (x, [1, 2]), (x, np.float32),
        (x, object()), (x, np.float32(3)), (x, "ij->ji"), (x, None),
    ]  # fmt: skip
    for n, args in enumerate(calls):
        for _ in range(3):
            one(signatures, hooked, *args)
        assert keys.asked == n + 1, args
    one(signatures, hooked, x, np.dtype("f4"))  # an object like any other
    assert keys.asked == len(calls)


def test_arrays_in_the_same_place_are_told_from_arrays_beside_each_other(
    keys: Keys, signatures: Signatures
) -> None:
    hooked, x, y = hook(), np.ones((2, 3)), np.ones((2, 3))
    same = one(signatures, hooked, x, x[:])
    assert one(signatures, hooked, x, x) == same
    assert one(signatures, hooked, x[:], x[:]) == same
    beside = one(signatures, hooked, x, y)
    assert beside != same
    assert one(signatures, hooked, x, y[:]) == one(signatures, hooked, x[:], y[:]) == beside
    assert one(signatures, hooked, [x, x[:]]) == same


def test_objects_are_not_kept_by_what_is_known_of_calls(signatures: Signatures) -> None:
    class Mine:
        pass

    hooked, x = hook(), np.ones(3)
    one(signatures, hooked, x, Mine(), [Mine()])
    kept = [part for glance in hooked.known for part in glance]
    assert kept
    assert not any(part is x or part is Mine or isinstance(part, (Mine, list)) for part in kept)


def test_what_is_known_of_calls_is_bounded(monkeypatch: pytest.MonkeyPatch, keys: Keys) -> None:
    monkeypatch.setattr(pysignatures, "MAX_GLANCES", 4)
    signatures, hooks = Signatures(ArrayReader(np), keys), [hook(), hook()]
    found = [one(signatures, hooks[n % 2], np.ones(n)) for n in range(10)]
    assert sum(len(hooked.known) for hooked in hooks) == 4
    assert [one(signatures, hooks[n % 2], np.ones(n)) for n in range(10)] == found
    assert len(keys.ids) == 10
