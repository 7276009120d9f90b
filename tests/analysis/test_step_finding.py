"""Where steps are: what the program marked, and loops that nobody marked."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings

import tinytrace as tt
from tests.analysis.programs import GAP_NS, PERIOD_NS, run_of
from tests.builders import START_NS, TraceBuilder, big_trace, trace_of, traces
from tinytrace.analysis.step_finding import Steps, find_steps
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Spans, Trace

STEP = "gfffldbbbuuuuuu"  # data, 3 layers, loss, its gradient, 3 layers back, 6 updates


def found(text: str, **options: str) -> Steps:
    return find_steps(run_of(text, **options).build())  # type: ignore[arg-type]


def pieces(text: str, steps: Steps) -> list[str]:
    """The letters that began in each step."""
    begin = -(-(steps.start_ns - START_NS) // PERIOD_NS)
    end = -(-(steps.end_ns - START_NS) // PERIOD_NS)
    return [text[b:e] for b, e in zip(begin.tolist(), end.tolist(), strict=True)]


# --- marked by the program


def test_marked_steps_are_believed() -> None:
    steps = find_steps(trace_of("step(add:2 add:1) _:5 step(add:7)"))
    assert (steps.how, steps.confidence, steps.missing) == ("marks", "certain", 0)
    assert (steps.start_ns - START_NS).tolist() == [0, 8000]
    assert steps.dur_ns.tolist() == [3000, 7000]
    assert steps.number.tolist() == [0, 1]


def test_of_marks_inside_marks_the_inner_ones_are_the_steps() -> None:
    steps = find_steps(trace_of("step(span(step:2 step:3) add:1) step:4"))
    assert steps.dur_ns.tolist() == [2000, 3000, 4000]


def test_of_several_threads_the_one_with_most_time_in_steps_is_taken() -> None:
    steps = find_steps(trace_of("step:2 step:2", worker="step:9"))
    assert (steps.thread, steps.dur_ns.tolist()) == (1, [9000])


def test_a_step_that_never_ended_is_none() -> None:
    assert len(find_steps(trace_of("step:2 step?:9"))) == 1


def test_marked_steps_that_are_known_as_sums_only_are_counted() -> None:
    builder = TraceBuilder()
    builder.process(1)
    builder.thread(0, 1)
    builder.span(0, START_NS, 5, "step", kind=Kind.STEP, step=7)
    builder.aggregates.append(
        (builder.string("step"), Kind.STEP, 0, -1, -1, 40, 0, 200, 0, 5, 5, START_NS, START_NS + 9)
    )
    assert find_steps(builder.build()).missing == 40


def test_numbers_of_spans_stand_in_for_marks_that_are_missing() -> None:
    spans = trace_of("step(add:2 add:1) _:5 step(add:7) add:9").spans
    kept = spans.take(spans.kind != Kind.STEP)
    columns = dict(kept.columns()) | {"parent": np.full(len(kept), -1)}
    trace = trace_of("add")
    steps = find_steps(Trace(trace.strings, spans=Spans(**columns), threads=trace.threads))
    assert (steps.how, steps.dur_ns.tolist()) == ("step numbers", [3000, 7000])
    assert steps.missing is None


# --- found


def test_a_loop_is_found_with_all_that_runs_in_it() -> None:
    text = "iiij" + STEP * 20 + "z"
    steps = found(text)
    assert (steps.how, steps.confidence) == ("pattern", "high")
    assert pieces(text, steps) == [STEP] * 20
    assert steps.number.tolist() == list(range(20))


def test_a_step_lasts_to_the_next_one_and_the_last_to_the_end_of_its_last_op() -> None:
    steps = found(STEP * 5 + "___")
    assert steps.dur_ns.tolist() == [len(STEP) * PERIOD_NS] * 4 + [len(STEP) * PERIOD_NS - GAP_NS]


def test_what_runs_between_epochs_is_in_no_step() -> None:
    text = "i" + ("p" + STEP * 9 + "gfffe" * 3 + "v") * 4
    steps = found(text)
    assert pieces(text, steps) == [STEP] * 36
    epoch_ends = steps.end_ns[8::9]
    assert (steps.start_ns[9::9] - epoch_ends[:-1]).min() > 15 * PERIOD_NS


def test_an_evaluation_before_the_first_step_is_not_part_of_it() -> None:
    text = "i" + "gfffe" * 2 + STEP * 9 + "gfffe" * 2
    assert pieces(text, found(text)) == [STEP] * 9


def test_a_loop_over_layers_is_not_the_step() -> None:
    step = "g" + "abc" * 12 + "ld" + "rstv" * 12 + "uwx" * 24
    text = "i" + step * 15
    steps = found(text)
    assert pieces(text, steps) == [step] * 15


def test_a_python_loop_over_elements_is_not_the_step() -> None:
    step = "g" + "mk" * 200 + "bflduwx"
    text = step * 10
    assert pieces(text, found(text)) == [step] * 10


def test_a_few_rounds_of_an_inner_loop_are_not_the_steps() -> None:
    step = "g" + "abcdefgh" * 4 + "uw"  # parts of a batch
    steps = found(step * 20)
    assert pieces(step * 20, steps) == [step] * 20
    assert steps.confidence == "low"
    assert "the steps may be a loop in them, which ran 80 times" in steps.reason


def test_epochs_are_not_the_steps_even_if_validation_has_lines_of_its_own() -> None:
    epoch = "p" + STEP * 10 + "mnoq"
    text = epoch * 8
    assert pieces(text, found(text)) == [STEP] * 80


def test_a_loop_in_which_every_line_is_in_an_inner_loop_is_found() -> None:
    step = "abab" + "cdcdcd" + "efefefef" + "ghghgh"
    text = "i" + step * 20 + "j"
    steps = found(text)
    assert pieces(text, steps) == [step] * 20


def test_sequences_of_varying_length_are_steps_too() -> None:
    rng = random.Random(0)
    steps = ["g" + "ab" * (n := rng.randint(9, 14)) + "ld" + "rs" * n + "uw" for _ in range(40)]
    text = "i" + "".join(steps) + "z"
    assert pieces(text, found(text)) == steps
    assert found(text).confidence == "medium"


def test_lines_that_run_now_and_then_do_not_break_the_pattern() -> None:
    text = "".join("gfffl" + "n" * (i % 10 == 0) + "dbbbuu" for i in range(60))
    assert len(found(text)) == 60


def test_a_run_that_is_cut_off_in_a_step_has_the_steps_before() -> None:
    text = "i" + STEP * 12 + STEP[:7]
    assert pieces(text, found(text))[:12] == [STEP] * 12


def test_the_loop_of_an_optimizer_is_taken() -> None:
    text = "i" + "gffldbbUUUU" * 12 + "z"
    steps = found(text)
    assert (steps.how, steps.confidence) == ("optimizer", "high")
    assert pieces(text, steps) == ["gffldbbUUUU"] * 12


def test_an_optimizer_decides_between_a_step_and_an_epoch() -> None:
    epoch = "abcU" * 5 + "nopqrstvwxyz"  # most lines are those of the epoch
    text = epoch * 6
    assert found(text.lower().replace("u", "k")).how == "pattern"
    assert len(found(text.lower().replace("u", "k"))) == 6
    assert pieces(text, found(text)) == ["abcU"] * 30


def test_lines_that_the_evaluation_runs_as_well_do_not_add_steps() -> None:
    text = ("gfhkmuw" * 10 + "gfhkme" * 2) * 6
    assert pieces(text, found(text)) == ["gfhkmuw"] * 60


def test_a_slow_start_does_not_hide_the_loop() -> None:
    text = "i" + STEP * 12
    assert len(find_steps(run_of(text, slow={0: 10**9}).build())) == 12


def test_environments_have_a_step_as_well_and_are_no_optimizer() -> None:
    assert found(STEP * 9, function="Environment.step").how == "pattern"


def test_spans_of_an_optimizer_count_too() -> None:
    builder = run_of(STEP * 9)
    for number in range(9):
        at_ns = START_NS + (number * len(STEP) + 9) * PERIOD_NS - 10
        builder.span(0, at_ns, 6 * PERIOD_NS, "Optimizer.step#SGD.step", kind=Kind.OPTIMIZER)
    assert find_steps(builder.build()).how == "optimizer"


def test_the_thread_with_most_op_time_is_searched() -> None:
    builder = run_of(STEP * 9, thread=2)
    builder.span(0, START_NS, 50, "add")
    steps = find_steps(builder.build())
    assert (steps.thread, len(steps)) == (2, 9)


# --- none rather than a guess


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "abcdefghijklmnop", "a" * 500, "ab" + "abcdefgh" * 2,
        "".join(random.Random(1).choices("abcdefgh", k=3000)),
        "".join(random.Random(2).choices("ab", k=3000)),
        # two lines in turns, and between them something else each time, or very unequal lengths
        "".join("x" + "".join(random.Random(i).choices("abcdefghijklmnopqr", k=4)) + "y" for i in range(60)),
        "".join("x" + "".join(random.Random(i).choices("abc", k=5 + (i * 37) % 200)) + "y" for i in range(60)),
    ],
)  # fmt: skip
def test_what_does_not_repeat_regularly_has_no_steps(text: str) -> None:
    steps = found(text)
    assert (len(steps), steps.how, steps.confidence, steps.thread) == (0, None, None, -1)
    assert steps.reason.startswith("no marks")


def test_a_short_loop_in_a_long_run_is_not_the_step() -> None:
    rest = "".join(random.Random(3).choices("abcdefgh", k=1000))
    assert len(found("xyz" * 10 + rest)) == 0


def test_an_inner_loop_that_cannot_be_told_apart_is_said_to_be_uncertain() -> None:
    text = ("p" + "abcdefgh" * 12 + "qrst") * 20  # layers of a batch, or steps of an epoch?
    steps = found(text)
    assert steps.confidence == "low"
    assert "may be the inner loop of another, which ran 20 times" in steps.reason


def test_of_a_trace_whose_ops_were_taken_out_only_whole_steps_are_told() -> None:
    kept = "___".join([STEP * 4, STEP[7:] + STEP * 3, STEP[2:] + STEP * 5 + STEP[:6], STEP * 3])
    builder = run_of(kept.replace("___", "_" * 400))
    builder.aggregates.append(
        (builder.string("add"), Kind.OP, 0, -1, -1, 900, 900, 200, 0, 5, 5, START_NS, START_NS + 9)
    )
    steps = find_steps(builder.build())
    assert (steps.confidence, steps.missing) == ("low", None)
    assert set(steps.dur_ns.tolist()) == {len(STEP) * PERIOD_NS - GAP_NS}
    # of 15, the fourth goes on into the end of another: where it ends cannot be told
    assert len(steps) == 14


def test_a_piece_that_was_taken_out_of_a_step_is_noticed() -> None:
    builder = run_of(STEP * 4 + STEP[:7] + "_" * 400 + STEP[7:] + STEP * 4)
    builder.aggregates.append(
        (builder.string("add"), Kind.OP, 0, -1, -1, 900, 900, 200, 0, 5, 5, START_NS, START_NS + 9)
    )
    assert len(find_steps(builder.build())) == 8


# --- any trace


@given(traces())
@settings(max_examples=60, deadline=None)
def test_steps_of_any_trace_are_in_order_and_do_not_overlap(trace: Trace) -> None:
    steps = find_steps(trace)
    assert (steps.dur_ns >= 0).all()
    assert (steps.end_ns[:-1] <= steps.start_ns[1:]).all()
    assert len(steps.number) == len(steps)


def test_steps_of_a_large_trace_are_found_without_its_numbers() -> None:
    trace = big_trace(200_000)
    columns = dict(trace.spans.columns()) | {"step": np.full(200_000, -1)}
    bare = Trace(trace.strings, trace.signatures, Spans(**columns), frames=trace.frames,
                 processes=trace.processes, threads=trace.threads)  # fmt: skip
    assert find_steps(trace).how == "step numbers"
    assert len(find_steps(bare)) == len(find_steps(trace)) == 200


def test_a_program_that_marks_nothing_is_recorded_and_its_steps_are_found() -> None:
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((8, 8)) for _ in range(3)]
    with tt.trace(sampler="none") as recording:
        for _ in range(30):
            x = rng.standard_normal((4, 8))
            for w in weights:
                x = np.tanh(x @ w)
            gradient = x - 1
            for w in weights:
                np.subtract(w, 0.01 * (x.T @ gradient), out=w)
    assert recording.result is not None
    assert len(find_steps(recording.result)) == 30
