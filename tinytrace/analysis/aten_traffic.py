"""Bytes that ATen operations move: compulsory traffic at their boundary, by docs/counting.md."""

from __future__ import annotations

from collections.abc import Callable

from tinytrace.analysis import traffic
from tinytrace.analysis.aten_calls import AtenCall
from tinytrace.analysis.traffic import NOT_KNOWN, NOTHING, Traffic
from tinytrace.tracer.trace import Operand

AtenTraffic = Callable[[AtenCall], Traffic]


def touch(call: AtenCall) -> Traffic:
    """Every input once, every output once; in place is read and write."""
    return Traffic(_read(call), traffic.total(list(call.outputs)))


def _read(call: AtenCall) -> int | None:
    """Return the bytes of the distinct inputs. Those without dimensions cost nothing: they may be Python numbers."""
    return traffic.total([o for o in call.tensors() if o.shape and o.alias < 0])


def first_output(call: AtenCall) -> Traffic:
    """As `touch`; of the outputs the first alone: statistics per row, small beside it, are left out."""
    return Traffic(_read(call), traffic.total(list(call.outputs[:1])))


def overwrite(call: AtenCall) -> Traffic:
    """As `touch`, but the first argument is written in place and not read."""
    read = traffic.total(call.tensors()[1:] if call.in_place else call.tensors())
    return Traffic(read, traffic.total(list(call.outputs)))


def fill(call: AtenCall) -> Traffic:
    """The output is written."""
    return Traffic(0, traffic.total(list(call.outputs)))


def view(call: AtenCall) -> Traffic:
    """No memory is touched."""
    return NOTHING


def join(call: AtenCall) -> Traffic:
    """2 · out."""
    written = traffic.total(list(call.outputs))
    return Traffic(written, written)


def gather(call: AtenCall) -> Traffic:
    """2 · out + index."""
    picked = traffic.dense_bytes(call.outputs[0])
    index = traffic.total(call.tensors()[1:])
    read = None if picked is None or index is None else picked + index
    return Traffic(read, traffic.total(list(call.outputs)))


def scatter(call: AtenCall) -> Traffic:
    """3 · updates + index; out of place: the whole tensor is copied first."""
    target, *along = call.tensors()
    updates = along[-1].elements
    moved = traffic.scattered(target, updates, along)
    if call.in_place or moved.read is None or moved.written is None:
        return moved
    whole = traffic.dense_bytes(target)
    return NOT_KNOWN if whole is None else Traffic(moved.read + whole, moved.written + whole)


def scattered_rows(call: AtenCall) -> Traffic:
    """Of embedding_dense_backward: out is cleared; 3 · gradient + index."""
    gradient, index = call.tensor("grad_output"), call.tensor("indices")
    (out,) = call.outputs
    read, written = traffic.scattered(out, gradient.elements, [gradient, index])
    cleared = traffic.dense_bytes(out)
    if cleared is None or written is None:
        return NOT_KNOWN
    return Traffic(read, written + cleared)


def dropped(call: AtenCall) -> Traffic:
    """As `touch`; nothing where the input is returned."""
    return touch(call) if call.outputs else NOTHING


def targets(call: AtenCall) -> Traffic:
    """Target, an element per target, and what is written."""
    source, target = call.tensor("self"), call.tensor("target")
    picked = target.elements * source.itemsize
    along = traffic.total([target])
    read = None if along is None or traffic.operand_bytes(source) is None else picked + along
    return Traffic(read, traffic.total(list(call.outputs)))


def written_at_targets(call: AtenCall) -> Traffic:
    """Target read; the whole gradient, zeros but at the targets, written once."""
    return Traffic(traffic.total([call.tensor("target")]), traffic.total(list(call.outputs)))


def listed(call: AtenCall) -> Traffic:
    """As `touch` over all tensors of the lists."""
    read = traffic.total([o for o in call.tensors() if o.shape])
    return Traffic(read, traffic.total(list(call.outputs)))


def read_only(call: AtenCall) -> Traffic:
    """All tensors of the lists are read; what is written is a number per tensor."""
    return Traffic(traffic.total(call.tensors()), 0)


def fill_lists(call: AtenCall) -> Traffic:
    """All tensors are written."""
    return Traffic(0, traffic.total(call.tensors()))


def copied_lists(call: AtenCall) -> Traffic:
    """The second list is read, the first written."""
    first, second = call.tensors()[:2]
    return Traffic(traffic.total([second]), traffic.total([first]))


def adam(call: AtenCall) -> Traffic:
    """Parameters and both averages read and written, gradients read."""
    written = [call.tensor(name) for name in ("self", "exp_avgs", "exp_avg_sqs")]
    return _updated(written, call)


def sgd(call: AtenCall) -> Traffic:
    """Parameters (and momenta) read and written, gradients read."""
    momentum = call.optional("momentum_buffer_list")
    return _updated([call.tensor("self"), *([momentum] if momentum else [])], call)


def _updated(written: list[Operand], call: AtenCall) -> Traffic:
    changed, gradients = traffic.total(written), traffic.total([call.tensor("grads")])
    read = None if changed is None or gradients is None else changed + gradients
    return Traffic(read, changed)


def unknown(call: AtenCall) -> Traffic:
    """How much is moved depends on values that are not recorded."""
    return NOT_KNOWN
