"""The first generation: operators are patched into tensors at the end, ``apply`` is the backward pass, which recurs."""

from tests.frameworks.recursive.autograd import enable_autograd
from tests.frameworks.recursive.layers import Conv, Layer, Linear, Loss, Relu
from tests.frameworks.recursive.tensor import Tensor
from tests.frameworks.recursive.training import SGD, Loader

enable_autograd()

__all__ = ["SGD", "Conv", "Layer", "Linear", "Loader", "Loss", "Relu", "Tensor", "enable_autograd"]
