"""Synthetic market-by-order days: seeded, of any length, in Databento's record format."""

from nbtrade.synthetic.market import SCENARIOS, batches, records, write_dbn

__all__ = ["SCENARIOS", "batches", "records", "write_dbn"]
