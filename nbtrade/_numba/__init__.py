"""Numba infrastructure: compilation and disk cache, records, pointers, tracebacks of compiled code."""
