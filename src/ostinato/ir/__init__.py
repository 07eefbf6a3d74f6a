"""The two languages inside, Graph (one step) and Program (a sequence of steps), the closed table of ops, and what they mean."""
