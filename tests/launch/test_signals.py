"""Programs that are sent signals: they die of them as they would, and nothing that was recorded is lost."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.launch.both import CORES, USE_NUMPY, Ended, Place, ops

READY = USE_NUMPY + "import os; os.write(1, b'ready\\n')\n"
WAITS = "import signal, sys, time\n" + READY + "time.sleep(1000)\n"
OWN_TERM = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda n, f: (os.write(1, b'cleaning up'), sys.exit(7)))\n"
    + READY
    + "time.sleep(1000)\n"
)
CHAINS_TERM = (
    "import os, signal, sys, time\n"
    "def own(number, frame):\n"
    "    os.write(1, b'saved\\n')\n"
    "    signal.signal(number, before)\n"
    "    os.kill(os.getpid(), number)\n"
    "before = signal.signal(signal.SIGTERM, own)\n" + READY + "time.sleep(1000)\n"
)
CATCHES = (
    "import time\ntry:\n    "
    + READY.replace("\n", "\n    ")
    + "time.sleep(1000)\nexcept KeyboardInterrupt:\n    print('caught')\nimport numpy; numpy.subtract(3, 1)\n"
)
OWN_INT = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGINT, lambda n, f: sys.exit(9))\n" + READY + "time.sleep(1000)\n"
)
IGNORES = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    + READY
    + "sys.stdin.readline(); print('lives')\n"
)
CHECKS = """
import signal
names = ("SIGINT", "SIGHUP", "SIGCHLD", "SIGALRM", "SIGPROF", "SIGVTALRM", "SIGUSR1", "SIGPIPE", "SIGSEGV")
print([(n, signal.getsignal(getattr(signal, n))) for n in names])
print([signal.getitimer(t) for t in (signal.ITIMER_REAL, signal.ITIMER_PROF, signal.ITIMER_VIRTUAL)])
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.set_wakeup_fd(-1))
"""


def wait_until_it_waits(pid: int) -> None:
    """Return when the main thread sleeps, and has not woken up between five looks at it."""
    seen: list[tuple[str, str]] = []
    while len(seen) < 5 or len(set(seen[-5:])) > 1 or seen[-1][0] != "S":
        status = Path(f"/proc/{pid}/task/{pid}/status").read_text(encoding="ascii")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        seen.append((fields["State"][:1], fields["voluntary_ctxt_switches"]))
        time.sleep(0.01)


def signalled(place: Place, command: list[str], number: int, stdin: bytes = b"") -> Ended:
    """Start, wait until it says that it is ready, send the signal."""
    process = place.start(command)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    wait_until_it_waits(process.pid)
    process.send_signal(number)
    return place.end(process, stdin)


def both(place: Place, number: int, stdin: bytes = b"") -> Ended:
    """Do that under plain Python and recorded; they must end alike."""
    plain = signalled(place, [place.python, "train.py"], number, stdin)
    recorded = signalled(place, place.command(("train.py",)), number, stdin)
    assert recorded == plain
    return recorded


@pytest.mark.parametrize("core", CORES)
def test_sigterm_kills_and_the_trace_is_saved(tmp_path: Path, core: str) -> None:
    place = Place.make(tmp_path, train=WAITS)
    place.core = core
    assert both(place, signal.SIGTERM) == Ended(-signal.SIGTERM, b"", b"")
    assert ops(place.trace()) == ["add"]


@pytest.mark.parametrize("core", CORES)
def test_sigint_is_a_keyboard_interrupt_that_kills_and_the_trace_is_saved(
    tmp_path: Path, core: str
) -> None:
    place = Place.make(tmp_path, train=WAITS)
    place.core = core
    ended = both(place, signal.SIGINT)
    assert ended.status == -signal.SIGINT
    assert ended.stderr.endswith(b"KeyboardInterrupt\n")
    assert ops(place.trace()) == ["add"]


@pytest.mark.parametrize(
    ("program", "number", "ended"),
    [
        (OWN_TERM, signal.SIGTERM, Ended(7, b"cleaning up", b"")),
        (CHAINS_TERM, signal.SIGTERM, Ended(-signal.SIGTERM, b"saved\n", b"")),
        (OWN_INT, signal.SIGINT, Ended(9, b"", b"")),
        (IGNORES, signal.SIGTERM, Ended(0, b"lives\n", b"")),
    ],
    ids=["own SIGTERM", "chained SIGTERM", "own SIGINT", "ignored SIGTERM"],
)
def test_own_handlers_of_the_program_are_called_and_decide(
    tmp_path: Path, program: str, number: int, ended: Ended
) -> None:
    place = Place.make(tmp_path, train=program)
    assert both(place, number, b"\n") == ended
    assert ops(place.trace()) == ["add"]


def test_caught_keyboard_interrupt_lets_the_program_and_the_recording_go_on(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=CATCHES)
    assert both(place, signal.SIGINT) == Ended(0, b"caught\n", b"")
    assert ops(place.trace()) == ["add", "subtract"]


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_what_a_killing_signal_leaves_is_recovered(tmp_path: Path, core: str, number: int) -> None:
    place = Place.make(tmp_path, train=WAITS)
    place.core = core
    assert both(place, number) == Ended(-number, b"", b"")
    assert not place.output.exists()
    assert ops(place.recover()) == ["add"]


TERM_WHILE_SAVING = (
    USE_NUMPY
    + """
import os, signal, sys

def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".tmp"):  # the trace, before it gets its name
        os.kill(os.getpid(), signal.SIGTERM)

sys.addaudithook(hook)
"""
)


def test_sigterm_while_saving_kills_and_keeps_what_was_recorded(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=TERM_WHILE_SAVING)
    ended = place.record("train.py")
    assert (ended.status, ended.stdout) == (-signal.SIGTERM, b"")
    assert ended.stderr.startswith(b"tinytrace: terminated while saving; it is kept: ")
    assert ended.stderr.count(b"\n") == 1
    assert not place.output.exists()
    assert ops(place.recover()) == ["add"]


@pytest.mark.parametrize("program", [("-m", "train"), ("-c", "import train"), (".",)], ids=" ".join)
def test_sigint_kills_however_the_program_was_named(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    interrupted = "import os\nos.kill(os.getpid(), 2)\nimport time; time.sleep(1000)\n"
    place = Place.make(tmp_path, train=interrupted, __main__="import train\n")
    assert place.same(*program).status == -signal.SIGINT
    place.trace()


def test_other_signals_timers_and_the_mask_are_left_alone(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=CHECKS)
    assert place.same("train.py").status == 0
