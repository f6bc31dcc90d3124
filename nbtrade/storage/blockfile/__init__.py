r"""The parts of BlockFile: many named blocks in one file.

    page 0   slot A   \  two alternating slots of 128 bytes: sequence, last durable group, where the base and the
    page 1   slot B   /  journal are, checksum; the valid one with the higher sequence counts
    page 2   the writer's pid, for error messages
    page 3   empty
    page 4.. extents, in pages of 4 KiB, in any order:

      data     the blocks of one group, side by side: large ones on pages of their own, small ones packed
      journal  segments of 1 MiB or more; one record a group: 64-byte header, ROW[n], names and metadata
      base     all ROWs at one moment, sorted by name, with a hash index: mapped, never parsed

                 put, delete, rename
                        |  bounded queue (reads look here first)
                        v
      writer thread: one group -> data extents -> one journal record -> one fdatasync -> slot (not synced)
                                                                        beside it, in another thread: the index, pages
                        |
                        v
      index = overlay (dict, from journal records) over base (mapped); LRU cache of base entries

Each trick and its weak case:

- One sync a group. A record holds the checksums of its blocks, so a torn group is seen on the next open, and dropped as a
  whole. The slot is written after the sync and becomes durable with the next one; it is only a note that a group was durable, and
  readers go no further than it. Weak case: after a crash the last group's data are read once. Groups with more than 64 MiB take a
  second sync instead.
- Shadow pages. A page that holds committed bytes is never written to. Extents retired by group g are free after the sync of
  g + 1, unless a reader holds an array over them (its lease: a byte-range lock far beyond the file's end, which the kernel
  frees when the reader dies). Weak case: one live block keeps its page of packed small blocks; checkpoints move such
  blocks together, `vacuum` rewrites all.
- Readers of other processes poll the slots' sequence numbers in the mapping, and read the new records. They take no locks; a block whose
  pages were recycled under them fails its checksum, and is looked up again.
- The catalog is a log with a checkpoint: a group of 500 updates writes about 45 KiB, whatever the number of blocks. Weak case: when the
  journal has grown past a quarter of the base, the base is written anew, and writing waits for it.
"""
