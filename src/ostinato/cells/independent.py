"""Recurrent layers whose neurons do not see each other."""

from ostinato.initialise import Uniform
from ostinato.language import Bias, Input, State, Weight, cell, relu


@cell
def indrnn(
    x=Input("n_inputs"), h=State("n_neurons"),
    W=Weight("n_inputs", "n_neurons"), u=Weight("n_neurons", init=Uniform(0, 1)), b=Bias("n_neurons"),
    *, phi=relu,
):  # fmt: skip
    """Independently recurrent neurons: h(t) = phi(x W + u h(t-1) + b), u a vector (Li et al. 2018, arXiv 1803.04831).

    No product in the loop: each neuron sees its own past alone. For long sequences the paper keeps |u| below 2^(1/T).
    """
    return phi(x @ W + u * h + b)
