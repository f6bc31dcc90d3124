"""Columns: rows of one dtype, or integers in the smallest width, in a file that one process extends and others read."""
