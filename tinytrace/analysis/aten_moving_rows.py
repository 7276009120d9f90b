"""ATen operations that sort, move, draw, take many tensors at once, or do nothing; see `aten_table`."""

from __future__ import annotations

from tinytrace.analysis import aten_layer_outputs as shaped
from tinytrace.analysis import aten_outputs as out
from tinytrace.analysis import aten_traffic as bytes_of
from tinytrace.analysis import aten_work as work
from tinytrace.analysis.aten_row import AtenRow, Role
from tinytrace.analysis.aten_traffic import touch
from tinytrace.analysis.aten_work import each, moves

COMPOSITE, VIEW = Role.COMPOSITE, Role.VIEW
OPTIMIZER = "lr beta1 beta2 weight_decay eps amsgrad maximize grad_scale found_inf"

MOVING = (
    # Sorting
    AtenRow("sort", "self dim= descending | self stable dim= descending", shaped.sorted_with_places,
            work.sorting, touch, "0; N·log2 N comparisons (nominal)"),
    AtenRow("topk kthvalue _unique2 unique_dim multinomial bincount histc searchsorted "
            "bucketize", "self", shaped.not_told, None, bytes_of.unknown,
            "uncounted: depends on the values"),
    # Moving
    AtenRow("copy", "self src non_blocking", out.same, moves, bytes_of.overwrite, "0"),
    AtenRow("clone", "self memory_format", out.same, moves, touch, "0", COMPOSITE),
    AtenRow("_to_copy", "self dtype= layout device pin_memory non_blocking memory_format",
            out.converted, moves, touch, "0", COMPOSITE),
    AtenRow("select_backward slice_backward", "grad_output", shaped.not_told, moves, touch, "0",
            COMPOSITE),
    AtenRow("repeat", "self repeats", shaped.not_told, moves, touch, "0", COMPOSITE),
    AtenRow("constant_pad_nd", "self pad value", shaped.not_told, moves, touch, "0", COMPOSITE),
    AtenRow("cat stack", "tensors dim", shaped.joined, moves, bytes_of.join, "0"),
    AtenRow("where", "condition self other", out.selected, moves, touch, "0"),
    AtenRow("masked_fill", "self mask value", out.same, moves, bytes_of.overwrite, "0"),
    AtenRow("index", "self indices", shaped.not_told, moves, bytes_of.unknown, "0"),
    AtenRow("index_select", "self dim= index", shaped.picked, moves, bytes_of.gather, "0"),
    AtenRow("gather", "self dim index sparse_grad", shaped.gathered, moves, bytes_of.gather, "0"),
    AtenRow("take", "self index", shaped.gathered, moves, bytes_of.gather, "0"),
    AtenRow("embedding", "weight indices padding_idx scale_grad_by_freq sparse", shaped.looked_up,
            moves, bytes_of.gather, "0", COMPOSITE),
    AtenRow("embedding_dense_backward",
            "grad_output indices num_weights= padding_idx scale_grad_by_freq",
            shaped.embedding_gradient, work.embedding_backward, bytes_of.scattered_rows,
            "N of the gradient"),
    AtenRow("scatter", "self dim index src | self dim index src reduce", out.same, moves,
            bytes_of.scatter, "0"),
    AtenRow("index_copy index_fill", "self dim index source", out.same, moves, bytes_of.scatter, "0"),
    AtenRow("scatter_add", "self dim index src", out.same, work.added_rows, bytes_of.scatter,
            "an addition per element that is added"),
    AtenRow("index_add", "self dim index source alpha", out.same, work.added_rows, bytes_of.scatter,
            "an addition per element that is added"),
    AtenRow("index_put", "self indices values accumulate=", out.same, work.put, bytes_of.unknown,
            "0; uncounted where it accumulates", COMPOSITE),
    AtenRow("_index_put_impl", "self indices values accumulate= unsafe", out.same, work.put,
            bytes_of.unknown, "0; uncounted where it accumulates"),
    AtenRow("nonzero masked_select", "self | self mask", shaped.not_told, moves, bytes_of.unknown, "0"),
    AtenRow("flip", "self dims", out.same, moves, touch, "0"),
    AtenRow("roll", "self shifts dims", out.same, moves, touch, "0"),
    AtenRow("tril triu", "self diagonal", out.same, moves, touch, "0"),
    AtenRow("pixel_shuffle pixel_unshuffle", "self factor", out.same_size, moves, touch, "0",
            COMPOSITE),
    AtenRow("reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d im2col",
            "self", shaped.not_told, moves, touch, "0"),
    AtenRow("upsample_nearest1d", "self output_size= scales", shaped.sized, moves, touch, "0"),
    AtenRow("upsample_nearest2d", "self output_size= scales_h scales_w", shaped.sized, moves, touch,
            "0"),
    AtenRow("fill", "self value", out.same, moves, bytes_of.fill, "0"),
    AtenRow("zero", "self", out.same, moves, bytes_of.fill, "0"),
    AtenRow("zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full "
            "scalar_tensor eye", "size", shaped.not_told, moves, bytes_of.fill, "0", COMPOSITE),
    AtenRow("arange", "end= dtype layout device pin_memory | start= end= dtype layout device "
            "pin_memory | start= end= step= dtype layout device pin_memory | start= end= step= | end=",
            shaped.counting_up, each(2), bytes_of.fill, "2N"),
    AtenRow("normal uniform bernoulli random exponential geometric log_normal cauchy randperm",
            "self | self generator | self p generator | self low high generator", out.same, None,
            bytes_of.fill,
            "uncounted: what a number costs depends on generator, distribution and luck"),
    AtenRow("randn rand randint randn_like rand_like randint_like", "size", shaped.not_told, None,
            bytes_of.fill, "uncounted: as normal", COMPOSITE),
    # Many tensors at once
    AtenRow("_foreach_add _foreach_sub", "self other | self other alpha=", shaped.lists,
            work.listed_add, bytes_of.listed, "N; 2N where alpha is not 1", COMPOSITE),
    AtenRow("_foreach_mul _foreach_div _foreach_maximum _foreach_minimum _foreach_clamp_min "
            "_foreach_clamp_max", "self other", shaped.lists, work.per_listed(1), bytes_of.listed, "N",
            COMPOSITE),
    AtenRow("_foreach_neg _foreach_abs _foreach_reciprocal _foreach_sign", "self", shaped.lists,
            work.per_listed(1), bytes_of.listed, "N", COMPOSITE),
    AtenRow("_foreach_addcmul _foreach_addcdiv", "self tensor1 tensor2 value", shaped.lists,
            work.per_listed(3), bytes_of.listed, "3N", COMPOSITE),
    AtenRow("_foreach_lerp", "self tensors1 weight", shaped.lists, work.per_listed(3), bytes_of.listed,
            "3N", COMPOSITE),
    AtenRow("_foreach_sqrt _foreach_rsqrt _foreach_exp _foreach_log _foreach_tanh _foreach_sigmoid",
            "self", shaped.lists, work.per_listed(0, 1), bytes_of.listed, "N T", COMPOSITE),
    AtenRow("_foreach_pow", "self exponent", shaped.lists, work.per_listed(0, 1), bytes_of.listed,
            "N T", COMPOSITE),
    AtenRow("_foreach_norm", "self ord= dtype", shaped.lists, work.listed_norms, bytes_of.read_only,
            "2N − 1 and a root per tensor; another order than 2: uncounted", COMPOSITE),
    AtenRow("_foreach_zero", "self", shaped.lists, moves, bytes_of.fill_lists, "0", COMPOSITE),
    AtenRow("_foreach_copy", "self src non_blocking", shaped.lists, moves, bytes_of.copied_lists, "0",
            COMPOSITE),
    AtenRow("_fused_adam _fused_adamw",
            f"self grads exp_avgs exp_avg_sqs max_exp_avg_sqs state_steps {OPTIMIZER}", shaped.lists,
            work.optimizer_step("adam"), bytes_of.adam, "13N + N T (nominal)"),
    AtenRow("_fused_sgd",
            "self grads momentum_buffer_list weight_decay momentum lr dampening nesterov maximize "
            "is_first_step grad_scale found_inf", shaped.lists, work.fused_sgd, bytes_of.sgd,
            "2N, with momentum 4N (nominal)"),
    AtenRow("_amp_foreach_non_finite_check_and_unscale", "self found_inf inv_scale", shaped.lists,
            work.per_listed(2), bytes_of.listed, "2N"),
    # Nothing is computed or moved
    AtenRow("view _unsafe_view reshape _reshape_alias view_as flatten unflatten t transpose permute "
            "movedim swapaxes swapdims mT mH numpy_T adjoint expand expand_as broadcast_to "
            "broadcast_tensors slice narrow select unbind split split_with_sizes chunk tensor_split "
            "unsqueeze squeeze unfold diagonal as_strided detach alias lift lift_fresh real imag "
            "view_as_real view_as_complex resolve_conj resolve_neg conj _conj contiguous to type_as "
            "empty empty_like empty_strided new_empty new_empty_strided resize resize_as set "
            "record_stream requires_grad result_type can_cast is_nonzero item _local_scalar_dense "
            "is_complex is_floating_point is_same_size size stride numel _has_same_storage_numel "
            "atleast_1d atleast_2d atleast_3d _version retain_grad output_nr unsafe_chunk "
            "unsafe_split unsafe_split_with_sizes _shape_as_tensor sym_size sym_numel sym_stride "
            "data is_pinned promote_types", "self", shaped.nothing, moves, bytes_of.view, "0", VIEW),
)  # fmt: skip
