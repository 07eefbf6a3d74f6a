"""How weights are learned: losses, update rules, examples, training."""
