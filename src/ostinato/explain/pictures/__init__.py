"""The drawings: products, the network folded and unrolled."""
