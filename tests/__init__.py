"""The tests of Ostinato: a package, so that one file of tests may use the tools of another (`from tests.loops import ...`)."""
