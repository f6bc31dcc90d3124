"""asv: BlockFile against SQLite, LMDB, the directory mode and the naive design; a class for each bar, measured in blockfile.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import blockfile

REPEATS = 7


class Updates:
    """500 durable updates, fresh random payloads."""

    unit = "ratio"
    timeout = 600
    params = (256, 4096)
    param_names = ("block_bytes",)

    def track_over_sqlite(self, size):
        """Time over SQLite's (WAL, synchronous=FULL, one transaction); bar 0.5."""
        return blockfile.update_ratios(size, REPEATS, naive=False)["over_sqlite"]

    def track_over_lmdb(self, size):
        """Time over LMDB's (one transaction); bar 1.0."""
        return blockfile.update_ratios(size, REPEATS, naive=False)["over_lmdb"]

    def track_times_faster_than_naive(self, size):
        """Time of the naive design divided by BlockFile's; bar 50."""
        return blockfile.update_ratios(size, 3)["naive_over_ours"]


class Reads:
    """500 verified reads of random blocks."""

    unit = "ratio"
    timeout = 600
    params = (256, 4096)
    param_names = ("block_bytes",)

    def track_over_folder(self, size):
        """Time over the directory mode's; bar 1.0."""
        return blockfile.read_ratios(size, REPEATS)["over_folder"]

    def track_over_sqlite(self, size):
        """Time over SQLite's unverified; bar 0.15."""
        return blockfile.read_ratios(size, REPEATS)["over_sqlite"]

    def track_over_lmdb(self, size):
        """Time over LMDB's unverified; bar 1.5."""
        return blockfile.read_ratios(size, REPEATS)["over_lmdb"]


class Whole:
    """Scans, readers next to a writer, buffers."""

    unit = "ratio"
    timeout = 600

    def track_cold_scan_read_ahead(self):
        """Rate of a cold scan with read-ahead over the rate without; bar 1.3."""
        return blockfile.scan_ratio(REPEATS)["rate_ratio"]

    def track_reads_beside_a_writer(self):
        """Rate of reads with a writer running over the rate without; bar 0.6."""
        return blockfile.writer_ratio(REPEATS)["rate_ratio"]

    def track_allocated_with_pool(self):
        """Buffer bytes allocated with the pool over those without; bar 0.5."""
        return blockfile.pool_ratio()["bytes_ratio"]
