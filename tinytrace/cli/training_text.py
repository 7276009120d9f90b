"""What a training program did, in numbers, as text."""

from __future__ import annotations

from tinytrace.analysis.figures import format_count
from tinytrace.analysis.training_counts import LayerCounts, TrainingCounts
from tinytrace.cli.sheet import Sheet

ROWS = 10


def say_training(counts: TrainingCounts, sheet: Sheet) -> None:
    """Say the counts.

    Args:
        counts: of the trace.
        sheet: where to.
    """
    told = [layer for layer in counts.layers if layer.forward.ops or layer.backward.ops]
    told.sort(key=lambda layer: -(layer.forward.flops + layer.backward.flops))
    shown = told[:ROWS]
    if shown:
        sheet.table(
            f"Layers by FLOPs ({len(shown)} of {len(told)})",
            {
                "layer": [sheet.text(layer.path) for layer in shown],
                "class": [sheet.text(layer.cls) for layer in shown],
                "calls": [f"{layer.calls:,}" for layer in shown],
                "FLOPs": [format_count(layer.forward.flops) for layer in shown],
                "backward": [format_count(layer.backward.flops) for layer in shown],
                "nodes run": [_reached(layer) for layer in shown],
            },
        )
    if counts.backward_calls:
        nodes = (
            "an unknown number of"
            if counts.backward_nodes is None
            else f"{counts.backward_nodes:,}"
        )
        text = f"Backward calls per node: {nodes} nodes, {counts.backward_calls:,} calls"
        if counts.without_forward:
            text += f", {counts.without_forward:,} of them of nodes whose forward was not seen"
        sheet.say(f"{text}.")
    sheet.say(
        f"Counted: {counts.work.ops:,} operations, {counts.work.flops:,} FLOPs, {counts.work.bytes:,} bytes; "
        f"{counts.layer_calls:,} calls of layers, {counts.batches:,} of loaders, {counts.backward_passes:,} "
        f"backward passes, {counts.optimizer_steps:,} optimizer steps.",
    )
    if not counts.is_complete:
        sheet.say(
            "Some spans are sums only: these counts are of what was kept whole, where they go by layer.",
            "dim",
        )


def _reached(layer: LayerCounts) -> str:
    return f"{layer.reached:,}" if layer.reached or layer.trainable else ""
