"""Gated recurrent units (Cho et al. 2014), with the reset gate after or before the recurrent product.

Both keep the old state where z is 1: h(t) = z h(t-1) + (1 - z) n. (Chung et al. 2014 write z the other way around.)

Options of both, active in training, off unless given:
    recurrent_dropout: of h(t-1) where the products read it (not where it is carried on), one mask for all of them and for all
        steps (Gal and Ghahramani 2016, arXiv 1512.05287).
    update_dropout: of n, so that what is carried is never dropped; a fresh mask at every step (Semeniuta, Severyn and Barth
        2016, arXiv 1603.05118).
    zoneout_h: see zoneout.py.
"""

from ostinato.language import Bias, Input, State, Weight, cell, dropout, sigmoid, tanh

from .zoneout import zoneout


@cell
def gru(
    x=Input("n_inputs"), h=State("n_neurons"),
    W_r=Weight("n_inputs", "n_neurons"), U_r=Weight("n_neurons", "n_neurons"), b_r=Bias("n_neurons"),
    W_z=Weight("n_inputs", "n_neurons"), U_z=Weight("n_neurons", "n_neurons"), b_z=Bias("n_neurons"),
    W_n=Weight("n_inputs", "n_neurons"), U_n=Weight("n_neurons", "n_neurons"), b_n=Bias("n_neurons"),
    b_hn=Bias("n_neurons"),
    *, recurrent_dropout=0.0, update_dropout=0.0, zoneout_h=0.0,
):  # fmt: skip
    """The reset gate after the product, as cuDNN, PyTorch and Keras compute it by default.

    r, z = sigmoid(x W_* + h U_* + b_*);  n = tanh(x W_n + b_n + r (h U_n + b_hn));  h(t) = (1 - z) n + z h(t-1).
    """
    h_read = dropout(h, recurrent_dropout, per="sequence")
    r = sigmoid(x @ W_r + h_read @ U_r + b_r)
    z = sigmoid(x @ W_z + h_read @ U_z + b_z)
    n = tanh(x @ W_n + b_n + r * (h_read @ U_n + b_hn))
    return zoneout((1 - z) * dropout(n, update_dropout) + z * h, h, zoneout_h)


@cell
def gru_reset_before(
    x=Input("n_inputs"), h=State("n_neurons"),
    W_r=Weight("n_inputs", "n_neurons"), U_r=Weight("n_neurons", "n_neurons"), b_r=Bias("n_neurons"),
    W_z=Weight("n_inputs", "n_neurons"), U_z=Weight("n_neurons", "n_neurons"), b_z=Bias("n_neurons"),
    W_n=Weight("n_inputs", "n_neurons"), U_n=Weight("n_neurons", "n_neurons"), b_n=Bias("n_neurons"),
    *, recurrent_dropout=0.0, update_dropout=0.0, zoneout_h=0.0,
):  # fmt: skip
    """The reset gate before the product, as the third version of the paper has it (arXiv 1406.1078v3).

    r, z = sigmoid(x W_* + h U_* + b_*);  n = tanh(x W_n + (r h) U_n + b_n);  h(t) = (1 - z) n + z h(t-1).
    """
    h_read = dropout(h, recurrent_dropout, per="sequence")
    r = sigmoid(x @ W_r + h_read @ U_r + b_r)
    z = sigmoid(x @ W_z + h_read @ U_z + b_z)
    n = tanh(x @ W_n + (r * h_read) @ U_n + b_n)
    return zoneout((1 - z) * dropout(n, update_dropout) + z * h, h, zoneout_h)
