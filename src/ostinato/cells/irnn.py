"""IRNN: not a cell but a way to begin (Le, Jaitly and Hinton 2015, arXiv 1504.00941).

A layer of rectified linear units whose recurrent matrix begins as the identity, its bias as zero, and its input weights as
Gaussian with a small deviation: at the beginning every neuron adds up what it sees, and its gradient neither grows nor fades.

    Layer(recurrent, n_inputs=2, n_neurons=100, phi=relu, init=IRNN)
"""

from ostinato.initialise import Identity, Normal

IRNN = {"W_x": Normal(0.001), "W_y": Identity(), "b": 0.0}
