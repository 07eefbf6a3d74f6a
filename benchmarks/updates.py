"""One step of an update rule against torch.optim, fused: all weights of an LSTM, on the same gradients, in turn.

    python -m benchmarks.updates                       64, 512 and 1024 neurons; adam, adamw, sgd with momentum, rmsprop
    python -m benchmarks.updates --sizes 512 --rules adam --threads 2 --clock processor

PyTorch writes the weights in place. We write them into memory that nobody has, since whoever keeps the weights of before keeps
their values. RMSprop has no fused form in PyTorch, and is compared with the one over several tensors at a time.
"""

import argparse

import numpy as np

from . import machine
from .timing import CLOCKS, alternating

RULES = ("adam", "adamw", "sgd", "rmsprop")


def contenders(rule, size, threads):
    """Name -> one step, of ours and of PyTorch's, after both were found to do the same."""
    import torch

    import ostinato
    from ostinato import Layer, UpdateRule, cells

    ostinato.set_threads(threads)
    torch.set_num_threads(threads)
    optimiser, options = {
        "adam": (torch.optim.Adam, {"fused": True}),
        "adamw": (torch.optim.AdamW, {"fused": True}),
        "sgd": (torch.optim.SGD, {"fused": True, "momentum": 0.9}),
        "rmsprop": (torch.optim.RMSprop, {"foreach": True}),
    }[rule]
    layer = Layer(cells.lstm, n_inputs=size, n_neurons=size, seed=1)
    rng = np.random.default_rng(0)
    gradients = {name: rng.standard_normal(w.shape, np.float32) for name, w in layer.weights.items()}
    leaves = {name: torch.tensor(np.array(w), requires_grad=True) for name, w in layer.weights.items()}
    for name, leaf in leaves.items():
        leaf.grad = torch.tensor(gradients[name])
    theirs = optimiser(leaves.values(), lr=0.001, **options)
    ours = UpdateRule(rule, learning_rate=0.001, **({"momentum": 0.9} if rule == "sgd" else {}))

    def step():
        ours.step(layer.weights, gradients)

    for _ in range(5):
        step()
        theirs.step()
    for name, leaf in leaves.items():
        np.testing.assert_allclose(layer.weights[name], leaf.detach().numpy(), rtol=1e-4, atol=1e-5)
    return {"ours": step, "torch": theirs.step}


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 512, 1024], help="neurons, and as many inputs")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender of a case")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args(given)
    machine.pin(arguments.threads)  # before any library that counts cores is loaded
    print(f"{'rule':8} {'neurons':>7} {'parameters':>11} {'ours ms':>9} {'torch ms':>9} {'ours/torch':>10}")
    for size in arguments.sizes:
        for rule in arguments.rules:
            times = alternating(contenders(rule, size, arguments.threads), arguments.seconds, clock=arguments.clock)
            ours, torch = times["ours"].median, times["torch"].median
            count = f"{8 * size * size + 4 * size:,}"
            print(f"{rule:8} {size:7} {count:>11} {ours * 1e3:9.3f} {torch * 1e3:9.3f} {ours / torch:10.2f}", flush=True)


if __name__ == "__main__":
    main()
