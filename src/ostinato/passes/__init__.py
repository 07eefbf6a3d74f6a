"""From Program to Program: simplify, differentiate, schedule, fuse. Each pass takes what is valid to what is valid."""
