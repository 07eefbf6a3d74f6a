"""From Program to Plan: stages over buffers, for a machine; and what each plan costs."""
