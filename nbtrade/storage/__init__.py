"""Files for numeric data that grows while it is read: columns, block files, and search in them; usable without the rest of nbtrade."""
