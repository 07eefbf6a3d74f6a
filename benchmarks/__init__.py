"""Ostinato against its peers, and against the machine: `python -m benchmarks`, or `make bench`. See benchmarks/__main__.py."""
