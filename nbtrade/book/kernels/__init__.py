"""Compiled order book operations."""
