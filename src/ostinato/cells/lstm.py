"""Long short-term memory (Hochreiter and Schmidhuber 1997; with the forget gate of Gers, Schmidhuber and Cummins 2000)."""

from ostinato.language import Bias, Input, State, Weight, cell, concat, dropout, sigmoid, tanh

from .zoneout import zoneout


@cell
def lstm(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W_i=Weight("n_inputs + n_neurons", "n_neurons"), b_i=Bias("n_neurons"),
    W_f=Weight("n_inputs + n_neurons", "n_neurons"), b_f=Bias("n_neurons"),
    W_g=Weight("n_inputs + n_neurons", "n_neurons"), b_g=Bias("n_neurons"),
    W_o=Weight("n_inputs + n_neurons", "n_neurons"), b_o=Bias("n_neurons"),
    *, recurrent_dropout=0.0, update_dropout=0.0, zoneout_h=0.0, zoneout_c=0.0,
):  # fmt: skip
    """Input, forget and output gates over one memory.

    i, f, o = sigmoid([x h] W_* + b_*);  g = tanh([x h] W_g + b_g);  c(t) = f c(t-1) + i g;  h(t) = o tanh(c(t)).

    For a forget bias of 1 (Jozefowicz, Zaremba and Sutskever 2015): `Layer(lstm, ..., init={"b_f": 1})`.

    Active in training, off unless given:
        recurrent_dropout: of h(t-1) where the gates read it, one mask for all gates and all steps (Gal and Ghahramani 2016,
            arXiv 1512.05287).
        update_dropout: of g, so that the memory itself is never dropped: c(t) = f c(t-1) + i d(g), a fresh mask at every step
            (Semeniuta, Severyn and Barth 2016, arXiv 1603.05118).
        zoneout_h, zoneout_c: of each state; h is made from the new memory before its zoneout (see zoneout.py).
    """
    xh = concat(x, dropout(h, recurrent_dropout, per="sequence"))
    i, f, o = sigmoid(xh @ W_i + b_i), sigmoid(xh @ W_f + b_f), sigmoid(xh @ W_o + b_o)
    g = dropout(tanh(xh @ W_g + b_g), update_dropout)
    memory = f * c + i * g
    return zoneout(o * tanh(memory), h, zoneout_h), zoneout(memory, c, zoneout_c)
