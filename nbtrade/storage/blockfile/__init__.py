r"""The parts of `BlockFile`, and its file format.

    page 0   slot A   \  two alternating slots of 128 bytes: sequence, last durable group, location of base and
    page 1   slot B   /  journal, checksum; the valid slot with the higher sequence is current
    page 2   the writer's pid, for error messages
    page 3   empty
    page 4.. extents, in pages of 4 KiB, in any order:

      data     the blocks of one group, contiguous: large ones start on a new page, small ones are packed
      journal  segments of 1 MiB or more; one record per group: 64-byte header, ROW[n], names and metadata
      base     all ROWs as of one moment, sorted by name, with a hash index: mapped, never parsed

                 put, delete, rename
                        |  bounded queue (reads look here first)
                        v
      writer thread: one group -> data extents -> one journal record -> one fdatasync -> slot (not synced)
                                                                        in parallel, in another thread: the index, pages
                        |
                        v
      index = overlay (dict, from journal records) over base (mapped); LRU cache of base entries

Each technique and its weak case:

- Single-sync groups. A record holds the checksums of its blocks, so the next open detects a torn group and drops all of it.
  The slot is written after the sync and becomes durable with the next one; it only records that a group is durable, and
  readers stop at the group it names. Weak case: after a crash the last group's data are read once. Groups with more than 64 MiB use a
  second sync instead.
- Shadow pages. A page that holds committed bytes is never overwritten. Extents retired by group g are free after the sync of
  g + 1, unless a reader holds an array over them (its lease: a byte-range lock far beyond the end of the file, which the system
  releases when the reader dies). Weak case: one live block keeps its page of packed small blocks; checkpoints move such
  blocks together, and `vacuum` rewrites everything.
- Readers in other processes poll the slots' sequence numbers in the mapping and read the new records. They take no locks; a block whose
  pages were recycled during the read fails its checksum and is looked up again.
- The catalog is a log with checkpoints: a group of 500 updates writes about 45 KiB, regardless of the number of blocks. Weak case: when
  the journal exceeds a quarter of the base, the base is rewritten, and writers wait for it.
"""
