"""Compiled search: single keys, many keys, and positions cached between calls."""
