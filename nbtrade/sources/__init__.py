"""Readers of vendors' files: bytes to 56-byte records."""
