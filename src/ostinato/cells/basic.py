"""The neuron and the layers of the book (Géron, Hands-On Machine Learning, chapter on recurrent networks)."""

from ostinato.language import Bias, Input, State, Weight, cell, identity, tanh


@cell
def neuron(x=Input("n_inputs"), y=State(), w_x=Weight("n_inputs"), w_y=Weight(), b=Bias(), *, phi=tanh):
    """A single recurrent neuron: y(t) = phi(<x(t), w_x> + y(t-1) w_y + b); y, w_y and b are numbers (equation 14-1)."""
    return phi(x @ w_x + y * w_y + b)


@cell
def recurrent(
    x=Input("n_inputs"), y=State("n_neurons"),
    W_x=Weight("n_inputs", "n_neurons"), W_y=Weight("n_neurons", "n_neurons"), b=Bias("n_neurons"),
    *, phi=tanh,
):  # fmt: skip
    """A layer of recurrent neurons: Y(t) = phi(X(t) W_x + Y(t-1) W_y + b) (equation 14-2; Elman 1990)."""
    return phi(x @ W_x + y @ W_y + b)


@cell
def dense(x=Input("n_inputs"), W=Weight("n_inputs", "n_outputs"), b=Bias("n_outputs"), *, phi=identity):
    """A layer without memory: Y = phi(X W + b)."""
    return phi(x @ W + b)
