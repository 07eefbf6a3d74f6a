"""Convolutions of images (height, width, channels), each patch flattened, one dot product per kernel; and their recurrence."""

from ostinato.language import Bias, Input, State, Weight, cell, identity, patches, sigmoid, tanh


@cell
def convolution_1d(
    x=Input("length", "n_channels"), K=Weight("size*n_channels", "n_kernels"), b=Bias("n_kernels"),
    *, stride=1, padding="same", phi=identity,
):  # fmt: skip
    """A convolution over a sequence of channels: phi(patches(x) K + b). It is a correlation, as everywhere in deep learning."""
    return phi(patches(x, ("size",), stride=stride, padding=padding) @ K + b)


@cell
def convolution_2d(
    x=Input("height", "width", "n_channels"), K=Weight("size*size*n_channels", "n_kernels"), b=Bias("n_kernels"),
    *, stride=1, padding="same", phi=identity,
):  # fmt: skip
    """A convolution over an image: phi(patches(x) K + b), one column of K per kernel."""
    return phi(patches(x, ("size", "size"), stride=stride, padding=padding) @ K + b)


@cell
def conv_lstm(
    X=Input("height", "width", "n_channels"), H=State("height", "width", "n_kernels"), C=State("height", "width", "n_kernels"),
    W_i=Weight("size*size*n_channels", "n_kernels"), U_i=Weight("size*size*n_kernels", "n_kernels"), b_i=Bias("n_kernels"),
    W_f=Weight("size*size*n_channels", "n_kernels"), U_f=Weight("size*size*n_kernels", "n_kernels"), b_f=Bias("n_kernels"),
    W_g=Weight("size*size*n_channels", "n_kernels"), U_g=Weight("size*size*n_kernels", "n_kernels"), b_g=Bias("n_kernels"),
    W_o=Weight("size*size*n_channels", "n_kernels"), U_o=Weight("size*size*n_kernels", "n_kernels"), b_o=Bias("n_kernels"),
    P_i=Weight("height", "width", "n_kernels", init=0), P_f=Weight("height", "width", "n_kernels", init=0),
    P_o=Weight("height", "width", "n_kernels", init=0),
):  # fmt: skip
    """LSTM whose products are convolutions, with peepholes (Shi et al. 2015, arXiv 1506.04214, eq. 3)."""
    x, h = (patches(v, ("size", "size"), padding="same") for v in (X, H))
    i = sigmoid(x @ W_i + h @ U_i + P_i * C + b_i)
    f = sigmoid(x @ W_f + h @ U_f + P_f * C + b_f)
    C = f * C + i * tanh(x @ W_g + h @ U_g + b_g)
    o = sigmoid(x @ W_o + h @ U_o + P_o * C + b_o)
    return o * tanh(C), C
