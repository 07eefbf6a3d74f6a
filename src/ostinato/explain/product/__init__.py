"""One product explained, without a cell."""
