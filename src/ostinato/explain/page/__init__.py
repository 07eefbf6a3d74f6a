"""An explanation as one HTML file."""
