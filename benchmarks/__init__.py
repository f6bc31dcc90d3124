"""Benchmarks: `asv run`, or `python benchmarks/bars.py` for the bars in the README."""
