"""Update rules, written as cells. One instance is one parameter, one step is one update.

The input of such a cell is the gradient g, its first state the parameter w, its other states what the rule remembers, and its
weights are the rule's own settings. A state that no gradient and no parameter reaches, such as a power of beta, is the same
for all parameters, and is kept as one number (passes/per_instance.py).
"""

from __future__ import annotations

from ..ir.ops import maximum, sqrt
from ..language.cell import Cell, cell
from ..language.declarations import Input, State, Weight


@cell
def sgd(
    g=Input(), w=State(), v=State(),
    learning_rate=Weight(init=0.01), momentum=Weight(init=0.0), weight_decay=Weight(init=0.0),
    *, nesterov=False,
):  # fmt: skip
    """Gradient descent with momentum: v = momentum v + g;  w = w - learning_rate v.

    The momentum of Polyak 1964; with `nesterov`, that of Nesterov as Sutskever et al. 2013 write it. `weight_decay` adds
    weight_decay w to the gradient.
    """
    g = g + weight_decay * w
    v = momentum * v + g
    return w - learning_rate * (g + momentum * v if nesterov else v), v


@cell
def adam(
    g=Input(), w=State(), m=State(), v=State(), p=State(initial=1.0), q=State(initial=1.0),
    learning_rate=Weight(init=0.001), beta_1=Weight(init=0.9), beta_2=Weight(init=0.999), epsilon=Weight(init=1e-8),
):  # fmt: skip
    """Adam (Kingma and Ba 2015, algorithm 1); p and q are the powers of beta_1 and beta_2.

    m = beta_1 m + (1 - beta_1) g;  v = beta_2 v + (1 - beta_2) g²;
    w = w - learning_rate (m / (1 - p)) / (sqrt(v / (1 - q)) + epsilon).
    """
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * (g * g)
    p, q = p * beta_1, q * beta_2
    return w - learning_rate * (m / (1 - p)) / (sqrt(v / (1 - q)) + epsilon), m, v, p, q


@cell
def adamw(
    g=Input(), w=State(), m=State(), v=State(), p=State(initial=1.0), q=State(initial=1.0),
    learning_rate=Weight(init=0.001), beta_1=Weight(init=0.9), beta_2=Weight(init=0.999), epsilon=Weight(init=1e-8),
    weight_decay=Weight(init=0.01),
):  # fmt: skip
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2); the decay is scaled by the learning rate.

    w = w - learning_rate weight_decay w, and then as Adam.
    """
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * (g * g)
    p, q = p * beta_1, q * beta_2
    decayed = w - learning_rate * weight_decay * w
    return decayed - learning_rate * (m / (1 - p)) / (sqrt(v / (1 - q)) + epsilon), m, v, p, q


@cell
def nadam(
    g=Input(), w=State(), m=State(), v=State(), t=State(), p=State(initial=1.0), q=State(initial=1.0),
    learning_rate=Weight(init=0.002), beta_1=Weight(init=0.9), beta_2=Weight(init=0.999), epsilon=Weight(init=1e-8),
    momentum_decay=Weight(init=0.004),
):  # fmt: skip
    """Adam with the momentum of Nesterov (Dozat 2016), as PyTorch has it; t counts, p is the product of all mu, q a power.

    mu(t) = beta_1 (1 - 0.96^(t momentum_decay) / 2);  m and v as in Adam;
    w = w - learning_rate ((1 - mu(t)) g / (1 - p) + mu(t + 1) m / (1 - p mu(t + 1))) / (sqrt(v / (1 - q)) + epsilon).
    """
    t = t + 1
    mu = beta_1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
    following = beta_1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * (g * g)
    p, q = p * mu, q * beta_2
    now, ahead = learning_rate * (1 - mu) / (1 - p), learning_rate * following / (1 - p * following)
    return w - (now * g + ahead * m) / (sqrt(v / (1 - q)) + epsilon), m, v, t, p, q


@cell
def rmsprop(
    g=Input(), w=State(), v=State(), m=State(), b=State(),
    learning_rate=Weight(init=0.01), alpha=Weight(init=0.99), epsilon=Weight(init=1e-8), momentum=Weight(init=0.0),
    weight_decay=Weight(init=0.0),
    *, centered=False,
):  # fmt: skip
    """RMSprop (Tieleman and Hinton 2012, lecture 6.5 of Neural Networks for Machine Learning), as PyTorch has it.

    g = g + weight_decay w;  v = alpha v + (1 - alpha) g²;
    b = momentum b + g / (sqrt(v) + epsilon);  w = w - learning_rate b.

    With `centered` (Graves 2013, arXiv 1308.0850, section 4.2) v - m² stands for v, where m = alpha m + (1 - alpha) g.
    """
    g = g + weight_decay * w
    v = alpha * v + (1 - alpha) * (g * g)
    variance = v
    if centered:
        m = alpha * m + (1 - alpha) * g
        variance = maximum(v - m * m, 0.0)  # which rounding may bring below 0
    b = momentum * b + g / (sqrt(variance) + epsilon)
    return w - learning_rate * b, v, m, b


@cell
def adagrad(
    g=Input(), w=State(), v=State(), t=State(),
    learning_rate=Weight(init=0.01), learning_rate_decay=Weight(init=0.0), epsilon=Weight(init=1e-10),
    weight_decay=Weight(init=0.0),
):  # fmt: skip
    """Adagrad (Duchi, Hazan and Singer 2011), as PyTorch has it; t counts the updates before this one.

    g = g + weight_decay w;  v = v + g²;  w = w - learning_rate / (1 + t learning_rate_decay) g / (sqrt(v) + epsilon).
    """
    g = g + weight_decay * w
    v = v + g * g
    return w - learning_rate / (1 + t * learning_rate_decay) * g / (sqrt(v) + epsilon), v, t + 1


RULES: dict[str, Cell] = {rule.name: rule for rule in (sgd, adam, adamw, nadam, rmsprop, adagrad)}

# what other libraries call a setting; where a rule has none of that name it is unknown
ELSEWHERE = {
    "lr": ["learning_rate"], "rate": ["learning_rate"], "learning_rate_init": ["learning_rate"], "step_size": ["learning_rate"],
    "eta": ["learning_rate"], "wd": ["weight_decay"], "l2": ["weight_decay"], "eps": ["epsilon"], "betas": ["beta_1", "beta_2"],
    "beta1": ["beta_1"], "beta2": ["beta_2"], "b1": ["beta_1"], "b2": ["beta_2"], "rho": ["alpha"],
    "lr_decay": ["learning_rate_decay"],
}  # fmt: skip
