"""Benchmarks: `asv run`, or `python benchmarks/bars.py` for the table in docs/performance.md."""
