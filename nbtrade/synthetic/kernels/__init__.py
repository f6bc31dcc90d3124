"""The compiled synthetic market."""
