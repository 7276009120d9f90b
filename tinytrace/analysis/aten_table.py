"""The table of PyTorch's ATen operations: which costs what. docs/counting.md prints the same rows (tested).

Names are without ``aten::``; the form in place (``add_``) is counted like the other one.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from tinytrace.analysis import aten_layer_outputs as shaped
from tinytrace.analysis import aten_outputs as out
from tinytrace.analysis import aten_traffic as bytes_of
from tinytrace.analysis import aten_work as work
from tinytrace.analysis.aten_calls import OutputRule, Schema, base_name
from tinytrace.analysis.aten_traffic import AtenTraffic, touch
from tinytrace.analysis.aten_work import AtenWork, by, each, moves
from tinytrace.analysis.work import ADD, COMPARE, EVALUATE, MULTIPLY, Each


class Role(Enum):
    """What a call means for the operations that were recorded inside it."""

    PRIMITIVE = "primitive"  # does the work itself: what runs inside is part of it
    COMPOSITE = (
        "composite"  # is made of others, which are counted; itself only where none was recorded
    )
    VIEW = "view"  # does nothing but look at memory, allocate it, or call others


class AtenRow(NamedTuple):
    """Operations that are counted alike.

    Attributes:
        ops: their names, separated by spaces.
        schemas: the arguments of each overload, separated by ``|``; ``=``: the value decides what the call costs.
        outputs: what is written, from the arguments.
        work: FLOPs and so on; None: deliberately uncounted.
        traffic: bytes.
        formula: what ``work`` says, for people; for an uncounted row, why.
        role: see `Role`.
    """

    ops: str
    schemas: str
    outputs: OutputRule
    work: AtenWork | None
    traffic: AtenTraffic
    formula: str
    role: Role = Role.PRIMITIVE


COMPOSITE, VIEW = Role.COMPOSITE, Role.VIEW
DIMS = "self dim= keepdim="
CONVOLUTION = "input weight bias stride= padding= dilation= groups="
TRANSPOSED = "input weight bias stride= padding= output_padding= groups= dilation="
WHOLE_CONVOLUTION = (
    "input weight bias stride= padding= dilation= transposed= output_padding= groups="
)
POOL = "self kernel_size= stride= padding= dilation= ceil_mode="
AVERAGE_POOL = "self kernel_size= stride= padding= ceil_mode= count_include_pad"
NORMALIZED = "input weight bias running_mean running_var training= momentum eps"
OPTIMIZER = "lr beta1 beta2 weight_decay eps amsgrad maximize grad_scale found_inf"

ROWS = (
    # Elementwise: N elements of the broadcast output
    AtenRow("add sub rsub", "self other alpha=", out.elementwise, work.scaled_add, touch,
            "N; complex 2N; + N (complex 6N) where alpha is not 1"),
    AtenRow("mul", "self other", out.elementwise, by(MULTIPLY), touch, "N; complex 6N"),
    AtenRow("square", "self", out.same, by(MULTIPLY), touch, "N; complex 6N"),
    AtenRow("div", "self other | self other rounding_mode", out.in_floats,
            by(Each(1, complex_flops=11)), touch, "N; complex 11N"),
    AtenRow("floor_divide remainder fmod bitwise_and bitwise_or bitwise_xor __and__ __or__ __xor__",
            "self other", out.elementwise, each(1), touch, "N"),
    AtenRow("maximum minimum fmax fmin", "self other", out.elementwise, by(COMPARE), touch,
            "N; complex 2N"),
    AtenRow("eq ne lt le gt ge logical_and logical_or logical_xor", "self other", out.truths,
            by(COMPARE), touch, "N; complex 2N"),
    AtenRow("logical_not isnan isinf isfinite isposinf isneginf signbit", "self", out.truths,
            by(COMPARE), touch, "N; complex 2N"),
    AtenRow("neg", "self", out.same, by(ADD), touch, "N; complex 2N"),
    AtenRow("abs", "self", out.magnitudes,
            by(Each(1, complex_flops=0, complex_transcendentals=1)), touch, "N; complex N T"),
    AtenRow("sign floor ceil trunc frac bitwise_not", "self", out.same, each(1), touch, "N"),
    AtenRow("round", "self | self decimals", out.same, each(1), touch, "N"),
    AtenRow("reciprocal", "self", out.in_floats, by(Each(1, complex_flops=6)), touch,
            "N; complex 6N"),
    AtenRow("exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin cos tan asin acos atan sinh cosh "
            "tanh asinh acosh atanh erf erfc erfinv sigmoid lgamma digamma", "self", out.in_floats,
            by(EVALUATE), touch, "N T"),
    AtenRow("logit", "self eps", out.in_floats, by(EVALUATE), touch, "N T"),
    AtenRow("atan2 hypot", "self other", out.in_floats, by(EVALUATE), touch, "N T"),
    AtenRow("pow", "self exponent=", out.powers, work.power, touch,
            "N T; exponent 2, −1: N; 3, −2: 2N; 0, 1: 0"),
    AtenRow("clamp", "self min max", out.elementwise, each(2), touch, "2N"),
    AtenRow("clamp_min clamp_max", "self bound", out.elementwise, each(1), touch, "N"),
    AtenRow("lerp", "self end weight", out.elementwise, each(3), touch, "3N"),
    AtenRow("addcmul addcdiv", "self tensor1 tensor2 value", out.elementwise, each(3), touch, "3N"),
    AtenRow("nan_to_num", "self nan posinf neginf", out.same, each(3), touch, "3N"),
    # Activations
    AtenRow("relu", "self", out.same, each(1), touch, "N"),
    AtenRow("threshold", "self threshold value", out.same, each(1), touch, "N"),
    AtenRow("hardtanh", "self min_val max_val", out.same, each(2), touch, "2N"),
    AtenRow("leaky_relu", "self negative_slope", out.same, each(2), touch, "2N"),
    AtenRow("_prelu_kernel", "self weight", out.elementwise, each(2), touch, "2N"),
    AtenRow("elu", "self alpha scale input_scale", out.same, each(2, 1), touch, "2N + N T"),
    AtenRow("silu", "self", out.same, each(1, 1), touch, "N + N T"),
    AtenRow("mish", "self", out.same, each(1, 3), touch, "N + 3N T"),
    AtenRow("gelu", "self approximate", out.same, work.nominal_each(4, 1), touch,
            "4N + N T (nominal: the exact form's, also by tanh)"),
    AtenRow("softplus", "self beta threshold", out.same, each(3, 2), touch, "3N + 2N T"),
    AtenRow("log_sigmoid_forward", "self", out.same, each(3, 2), bytes_of.unknown, "3N + 2N T"),
    AtenRow("hardsigmoid", "self", out.same, each(4), touch, "4N"),
    AtenRow("hardswish", "self", out.same, each(5), touch, "5N"),
    AtenRow("threshold_backward", "grad_output self threshold", out.same, each(1), touch, "N"),
    AtenRow("hardtanh_backward", "grad_output self min_val max_val", out.same, each(2), touch, "2N"),
    AtenRow("leaky_relu_backward", "grad_output self negative_slope self_is_result", out.same,
            each(2), touch, "2N"),
    AtenRow("sigmoid_backward tanh_backward", "grad_output output", out.same, each(3), touch, "3N"),
    AtenRow("silu_backward", "grad_output self", out.same, each(5, 1), touch, "5N + N T"),
    AtenRow("gelu_backward", "grad_output self approximate", out.same, work.nominal_each(9, 2), touch,
            "9N + 2N T (nominal: the exact form's, also by tanh)"),
    # Products
    AtenRow("mm bmm _int_mm", "self mat2", out.product, work.product, touch,
            "2·K·N_out; complex 8·K·N_out"),
    AtenRow("mv", "self vec", out.product, work.product, touch, "2·K·N_out; complex 8·K·N_out"),
    AtenRow("dot vdot", "self other", out.product, work.product, touch,
            "2·K·N_out; complex 8·K·N_out"),
    AtenRow("matmul", "self other", out.product, work.product, touch,
            "2·K·N_out; complex 8·K·N_out", COMPOSITE),
    AtenRow("addmm", "self mat1 mat2 beta= alpha", out.product, work.product_and_sum, touch,
            "2·K·N_out + N_out; beta=0: 2·K·N_out"),
    AtenRow("_addmm_activation", "self mat1 mat2 beta= alpha use_gelu", out.product,
            work.product_and_activation, touch,
            "2·K·N_out + 2N_out (nominal: the activation as one operation)"),
    AtenRow("addmv", "self mat vec beta= alpha", out.product, work.product_and_sum, touch,
            "2·K·N_out + N_out; beta=0: 2·K·N_out"),
    AtenRow("baddbmm", "self batch1 batch2 beta= alpha", out.product, work.product_and_sum, touch,
            "2·K·N_out + N_out; beta=0: 2·K·N_out"),
    AtenRow("addbmm", "self batch1 batch2 beta= alpha", out.first_like, work.summed_products, touch,
            "2·B·K·N_out + N_out"),
    AtenRow("outer ger", "self vec2", out.outer, by(MULTIPLY), touch, "N; complex 6N"),
    AtenRow("linear", "input weight bias", out.linear, work.linear, touch,
            "2·K·N_out, + N_out for a bias", COMPOSITE),
    AtenRow("einsum", "equation operands path", shaped.not_told, None, bytes_of.unknown,
            "uncounted: the subscripts are not recorded", COMPOSITE),
    # Convolutions, pooling
    AtenRow("conv1d conv2d conv3d", CONVOLUTION, shaped.convolution, work.convolution, touch,
            "2·batch·∏out·∏k·Cout·Cin/groups, + N_out for a bias", COMPOSITE),
    AtenRow("conv_transpose1d conv_transpose2d conv_transpose3d", TRANSPOSED, shaped.convolution,
            work.convolution, touch,
            "2·batch·∏in·∏k·Cin·Cout/groups, + N_out for a bias", COMPOSITE),
    AtenRow("convolution convolution_overrideable", WHOLE_CONVOLUTION, shaped.convolution,
            work.convolution, touch, "as conv2d; as conv_transpose2d where it is transposed",
            COMPOSITE),
    AtenRow("_convolution",
            f"{WHOLE_CONVOLUTION} benchmark deterministic cudnn_enabled allow_tf32 | "
            f"{WHOLE_CONVOLUTION} benchmark deterministic cudnn_enabled", shaped.convolution,
            work.convolution, touch, "as conv2d; as conv_transpose2d where it is transposed",
            COMPOSITE),
    AtenRow("mkldnn_convolution", "input weight bias padding= stride= dilation= groups=",
            shaped.convolution, work.convolution, touch,
            "2·batch·∏out·∏k·Cout·Cin/groups, + N_out for a bias"),
    AtenRow("miopen_convolution miopen_depthwise_convolution",
            "input weight bias padding= stride= dilation= groups= benchmark deterministic",
            shaped.convolution, work.convolution, touch,
            "2·batch·∏out·∏k·Cout·Cin/groups, + N_out for a bias"),
    AtenRow("cudnn_convolution",
            "input weight padding= stride= dilation= groups= benchmark deterministic allow_tf32",
            shaped.convolution, work.convolution, touch, "2·batch·∏out·∏k·Cout·Cin/groups"),
    AtenRow("cudnn_convolution_transpose",
            "input weight padding= output_padding= stride= dilation= groups= benchmark "
            "deterministic allow_tf32", shaped.convolution, work.convolution, touch,
            "2·batch·∏in·∏k·Cin·Cout/groups"),
    AtenRow("thnn_conv2d", "input weight kernel_size bias stride= padding=", shaped.convolution,
            work.convolution, touch, "2·batch·∏out·∏k·Cout·Cin, + N_out for a bias", COMPOSITE),
    AtenRow("_slow_conv2d_forward slow_conv3d_forward",
            "input weight kernel_size bias stride= padding=", shaped.convolution, work.convolution,
            touch, "2·batch·∏out·∏k·Cout·Cin, + N_out for a bias"),
    AtenRow("slow_conv_dilated2d slow_conv_dilated3d _conv_depthwise2d conv_depthwise3d",
            "input weight kernel_size bias stride= padding= dilation=", shaped.convolution,
            work.convolution, touch, "2·batch·∏out·∏k·Cout·Cin/groups, + N_out for a bias"),
    AtenRow("slow_conv_transpose2d slow_conv_transpose3d",
            "input weight kernel_size bias stride= padding= output_padding= dilation=",
            shaped.convolution, work.convolution, touch,
            "2·batch·∏in·∏k·Cin·Cout, + N_out for a bias"),
    AtenRow("convolution_backward",
            "grad_output input weight bias_sizes stride padding dilation transposed= output_padding "
            "groups output_mask=", shaped.convolution_backward, work.convolution_backward, touch,
            "forward once for each gradient that is asked for, of input and of weight; "
            "bias: + Cout·(batch·∏out − 1)"),
    AtenRow("max_pool1d max_pool2d max_pool3d", POOL, shaped.pooling, work.pooling, touch,
            "(k − 1)·N_out", COMPOSITE),
    AtenRow("max_pool2d_with_indices max_pool3d_with_indices", POOL, shaped.pooling, work.pooling,
            touch, "(k − 1)·N_out"),
    AtenRow("avg_pool1d", AVERAGE_POOL, shaped.pooling, work.pooling, touch, "k·N_out", COMPOSITE),
    AtenRow("avg_pool2d avg_pool3d", f"{AVERAGE_POOL} divisor_override", shaped.pooling, work.pooling,
            touch, "k·N_out"),
    AtenRow("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", "self output_size=",
            shaped.adaptive_pooling, work.adaptive_pooling, touch,
            "N_in; uncounted where windows overlap", COMPOSITE),
    AtenRow("_adaptive_avg_pool2d _adaptive_avg_pool3d", "self output_size=",
            shaped.adaptive_pooling, work.adaptive_pooling, touch,
            "N_in; uncounted where windows overlap"),
    AtenRow("max_pool2d_with_indices_backward max_pool3d_with_indices_backward",
            "grad_output self kernel_size= stride padding dilation ceil_mode indices",
            shaped.like_the("self"), work.pooling_backward, touch, "N of the gradient"),
    AtenRow("avg_pool2d_backward avg_pool3d_backward",
            "grad_output self kernel_size= stride padding ceil_mode count_include_pad "
            "divisor_override", shaped.like_the("self"), work.pooling_backward, touch,
            "(k + 1)·N of the gradient"),
    # Layers
    AtenRow("softmax log_softmax", "self dim= dtype", out.same, work.softmax, touch,
            "4N − 2R + N T for R rows; logarithm + R T", COMPOSITE),
    AtenRow("_softmax _log_softmax", "self dim= half_to_float=", shaped.softmax, work.softmax, touch,
            "4N − 2R + N T for R rows; logarithm + R T"),
    AtenRow("_softmax_backward_data _log_softmax_backward_data",
            "grad_output output dim= input_dtype=", shaped.softmax_backward, work.softmax_backward,
            touch, "4N − R; of the logarithm 3N − R + N T"),
    AtenRow("layer_norm", "input normalized_shape= weight bias eps cudnn_enable", shaped.like_the("input"),
            work.layer_norm, bytes_of.first_output, "5N (nominal)", COMPOSITE),
    AtenRow("native_layer_norm", "input normalized_shape= weight bias eps", shaped.like_the("input"),
            work.layer_norm, bytes_of.first_output, "5N (nominal)"),
    AtenRow("native_layer_norm_backward",
            "grad_out input normalized_shape= mean rstd weight bias output_mask=", shaped.norm_backward,
            work.norm_backward, touch, "10N (nominal: 2 × forward)"),
    AtenRow("rms_norm _fused_rms_norm", "input normalized_shape= weight eps", shaped.like_the("input"),
            work.rms_norm, bytes_of.first_output, "4N + R T for R rows", COMPOSITE),
    AtenRow("group_norm", "input num_groups weight bias eps cudnn_enabled", shaped.like_the("input"),
            work.layer_norm, bytes_of.first_output, "5N (nominal)", COMPOSITE),
    AtenRow("native_group_norm", "input weight bias N C HxW group= eps", shaped.like_the("input"),
            work.layer_norm, bytes_of.first_output, "5N (nominal)"),
    AtenRow("native_group_norm_backward",
            "grad_out input mean rstd weight N C HxW group output_mask=", shaped.norm_backward,
            work.norm_backward, touch, "10N (nominal: 2 × forward)"),
    AtenRow("batch_norm _batch_norm_impl_index", f"{NORMALIZED} cudnn_enabled", shaped.like_the("input"),
            work.batch_norm, bytes_of.first_output, "5N in training, 2N in evaluation (nominal)", COMPOSITE),
    AtenRow("native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit",
            NORMALIZED, shaped.like_the("input"), work.batch_norm, bytes_of.first_output,
            "5N in training, 2N in evaluation (nominal)"),
    AtenRow("native_batch_norm_backward",
            "grad_out input weight running_mean running_var save_mean save_invstd train= eps "
            "output_mask=", shaped.norm_backward, work.norm_backward, touch,
            "10N in training, 4N in evaluation (nominal: 2 × forward)"),
    AtenRow("cudnn_batch_norm_backward miopen_batch_norm_backward",
            "input grad_output weight running_mean running_var save_mean save_var epsilon | "
            "input grad_output weight running_mean running_var save_mean save_var epsilon reserve",
            shaped.trained_backward, work.trained_backward, touch, "10N (nominal: 2 × forward)"),
    AtenRow("dropout", "input p train=", shaped.dropped, work.dropped, bytes_of.dropped,
            "2N in training (nominal: without drawing the mask), else 0", COMPOSITE),
    AtenRow("native_dropout", "input p train=", shaped.dropout, work.dropout, touch,
            "2N (nominal: without drawing the mask)"),
    AtenRow("native_dropout_backward", "grad_output mask scale", out.same, each(2), touch, "2N"),
    # Attention
    AtenRow("scaled_dot_product_attention",
            "query key value attn_mask dropout_p is_causal= scale enable_gqa | "
            "query key value attn_mask dropout_p is_causal= scale", shaped.attention, work.attention,
            bytes_of.first_output, "2·B·H·Sq·Sk·(d + dv) + softmax; causal: the same (nominal)", COMPOSITE),
    AtenRow("_scaled_dot_product_attention_math",
            "query key value attn_mask dropout_p is_causal= dropout_mask scale enable_gqa | "
            "query key value attn_mask dropout_p is_causal= dropout_mask scale", shaped.attention,
            work.attention, bytes_of.first_output, "as scaled_dot_product_attention", COMPOSITE),
    AtenRow("_scaled_dot_product_flash_attention_for_cpu",
            "query key value dropout_p is_causal= attn_mask scale", shaped.attention, work.attention,
            bytes_of.first_output, "as scaled_dot_product_attention"),
    AtenRow("_scaled_dot_product_flash_attention",
            "query key value dropout_p is_causal= return_debug_mask scale", shaped.attention,
            work.attention, bytes_of.first_output, "as scaled_dot_product_attention"),
    AtenRow("_scaled_dot_product_efficient_attention",
            "query key value attn_bias compute_log_sumexp dropout_p is_causal= scale", shaped.attention,
            work.attention, bytes_of.first_output, "as scaled_dot_product_attention"),
    AtenRow("_scaled_dot_product_cudnn_attention",
            "query key value attn_bias compute_log_sumexp dropout_p is_causal= return_debug_mask "
            "scale", shaped.attention, work.attention, bytes_of.first_output, "as scaled_dot_product_attention"),
    AtenRow("_flash_attention_forward",
            "query key value cum_seq_q cum_seq_k max_q max_k dropout_p is_causal= "
            "return_debug_mask", shaped.attention, work.attention, bytes_of.first_output,
            "as scaled_dot_product_attention; packed sequences: uncounted"),
    AtenRow("_scaled_dot_product_flash_attention_for_cpu_backward",
            "grad_out query key value out logsumexp dropout_p is_causal= attn_mask scale",
            shaped.attention_backward, work.attention_backward, touch,
            "5·B·H·Sq·Sk·(d + dv) + B·H·Sq·Sk T; causal: the same (nominal)"),
    AtenRow("_scaled_dot_product_flash_attention_backward",
            "grad_out query key value out logsumexp cum_seq_q cum_seq_k max_q max_k dropout_p "
            "is_causal= philox_seed philox_offset scale", shaped.attention_backward,
            work.attention_backward, touch, "as the one for CPUs"),
    AtenRow("_scaled_dot_product_efficient_attention_backward",
            "grad_out query key value attn_bias out logsumexp philox_seed philox_offset dropout_p "
            "grad_input_mask is_causal= scale", shaped.attention_backward, work.attention_backward,
            touch, "as the one for CPUs"),
    AtenRow("_scaled_dot_product_cudnn_attention_backward",
            "grad_out query key value out logsumexp philox_seed philox_offset attn_bias cum_seq_q "
            "cum_seq_k max_q max_k dropout_p is_causal= scale", shaped.attention_backward,
            work.attention_backward, touch, "as the one for CPUs"),
    # Losses
    AtenRow("nll_loss_forward nll_loss2d_forward", "self target weight reduction= ignore_index",
            shaped.nll_loss, work.nll_loss, bytes_of.targets, "2 per target"),
    AtenRow("nll_loss_backward nll_loss2d_backward",
            "grad_output self target weight reduction ignore_index total_weight",
            shaped.like_the("self"), work.nll_loss, bytes_of.written_at_targets, "2 per target"),
    AtenRow("mse_loss", "self target reduction=", shaped.loss, work.squared_loss, touch,
            "2N; averaged 3N; summed 3N − 1"),
    AtenRow("mse_loss_backward", "grad_output self target reduction", shaped.like_the("self"), each(3),
            touch, "3N"),
    AtenRow("binary_cross_entropy", "self target weight reduction=", shaped.loss, work.log_loss, touch,
            "5N + 2N T; averaged or summed 6N + 2N T"),
    AtenRow("binary_cross_entropy_backward", "grad_output self target weight reduction",
            shaped.like_the("self"), each(6), touch, "6N"),
    # Reductions
    AtenRow("sum", "self dtype= | self dim= keepdim= dtype=", out.sum_of, work.reduce_by(ADD), touch,
            "N_in − N_out; complex 2×"),
    AtenRow("prod", "self dtype= | self dim= keepdim= dtype=", out.sum_of, work.reduce_by(MULTIPLY),
            touch, "N_in − N_out; complex 6×"),
    AtenRow("mean", "self dtype= | self dim= keepdim= dtype=", out.sum_of, work.mean, touch,
            "N_in; complex 2×"),
    AtenRow("max min", f"self | self other | {DIMS}", out.extremes, work.extremes, touch,
            "N_in − N_out; of two tensors N"),
    AtenRow("amax amin", DIMS, out.reduction, work.reduce_by(COMPARE), touch, "N_in − N_out"),
    AtenRow("argmax argmin", DIMS, out.places, work.reduce_by(COMPARE), touch, "N_in − N_out"),
    AtenRow("any all", f"self | {DIMS}", out.truth, work.reduce_by(COMPARE), touch, "N_in − N_out"),
    AtenRow("var std", "self unbiased | self dim= correction keepdim=", out.reduction, work.variance,
            touch, "4N; deviation: + N_out T"),
    AtenRow("var_mean std_mean", "self unbiased | self dim= correction keepdim=", out.value_and_mean,
            work.variance, touch, "4N; deviation: + N_out T"),
    AtenRow("linalg_vector_norm", "self ord= dim= keepdim= dtype=", out.sum_of, work.norm, touch,
            "2N − N_out + N_out T; orders 1, ∞: 2N − N_out; others + N T"),
    AtenRow("norm", "self p= | self p= dtype= | self p= dim= keepdim= | self p= dim= keepdim= dtype=",
            out.sum_of, work.norm, touch, "as linalg_vector_norm", COMPOSITE),
    AtenRow("cumsum", "self dim= dtype=", out.running, work.running, touch, "N − lanes; complex 2×"),
    # Sorting
    AtenRow("sort", "self dim= descending | self stable dim= descending", shaped.sorted_with_places,
            work.sorting, touch, "0; N·log2 N comparisons (nominal)"),
    AtenRow("topk kthvalue _unique2 unique_dim multinomial bincount histc searchsorted "
            "bucketize", "self", shaped.not_told, None, bytes_of.unknown,
            "uncounted: depends on the values"),
    # Moving
    AtenRow("copy", "self src non_blocking", out.same, moves, bytes_of.overwrite, "0"),
    AtenRow("clone", "self memory_format", out.same, moves, touch, "0", COMPOSITE),
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
    AtenRow("upsample_nearest1d", "self output_size= scales", shaped.sized, moves, touch, "0"),
    AtenRow("upsample_nearest2d", "self output_size= scales_h scales_w", shaped.sized, moves, touch,
            "0"),
    AtenRow("fill", "self value", out.same, moves, bytes_of.fill, "0"),
    AtenRow("zero", "self", out.same, moves, bytes_of.fill, "0"),
    AtenRow("zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full "
            "scalar_tensor eye", "size", shaped.not_told, moves, bytes_of.unknown, "0", COMPOSITE),
    AtenRow("arange", "end= dtype layout device pin_memory | start= end= dtype layout device "
            "pin_memory | start= end= step= dtype layout device pin_memory | start= end= step= | end=",
            shaped.counting_up, each(2), bytes_of.fill, "2N"),
    AtenRow("normal uniform bernoulli random exponential geometric log_normal cauchy randperm",
            "self | self generator | self p generator | self low high generator", out.same, None,
            bytes_of.fill,
            "uncounted: what a number costs depends on generator, distribution and luck"),
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

TABLE: dict[str, AtenRow] = {name: row for row in ROWS for name in row.ops.split()}
SCHEMAS: dict[str, tuple[Schema, ...]] = {
    name: tuple(Schema.parse(text) for text in row.schemas.split("|"))
    for name, row in TABLE.items()
}


def find(op: str) -> AtenRow | None:
    """Return the row of an operation such as ``aten::add_``; None: not in the table."""
    return TABLE.get(base_name(op)[0])


def schemas_of(op: str) -> tuple[Schema, ...]:
    """Return the overloads of an operation that are known here; () for others."""
    return SCHEMAS.get(base_name(op)[0], ())
