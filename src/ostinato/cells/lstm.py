"""Long short-term memory (Hochreiter and Schmidhuber 1997; with the forget gate of Gers, Schmidhuber and Cummins 2000)."""

from ostinato import Bias, Input, State, Weight, cell, concat, sigmoid, tanh


@cell
def lstm(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W_i=Weight("n_inputs + n_neurons", "n_neurons"), b_i=Bias("n_neurons"),
    W_f=Weight("n_inputs + n_neurons", "n_neurons"), b_f=Bias("n_neurons"),
    W_g=Weight("n_inputs + n_neurons", "n_neurons"), b_g=Bias("n_neurons"),
    W_o=Weight("n_inputs + n_neurons", "n_neurons"), b_o=Bias("n_neurons"),
):  # fmt: skip
    """Input, forget and output gates over one memory.

    i, f, o = sigmoid([x h] W_* + b_*);  g = tanh([x h] W_g + b_g);  c(t) = f c(t-1) + i g;  h(t) = o tanh(c(t)).

    For a forget bias of 1 (Jozefowicz, Zaremba and Sutskever 2015): `Layer(lstm, ..., init={"b_f": 1})`.
    """
    xh = concat(x, h)
    i, f, o = sigmoid(xh @ W_i + b_i), sigmoid(xh @ W_f + b_f), sigmoid(xh @ W_o + b_o)
    g = tanh(xh @ W_g + b_g)
    c = f * c + i * g
    return o * tanh(c), c
