"""One call: arguments are checked, weights and masks found, a program runs, and its pullback is kept."""
