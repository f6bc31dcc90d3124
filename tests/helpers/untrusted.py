"""Wrong headers with right checksums, tried in a separate process: `python untrusted.py WHAT FOLDER SEED`.

The author of a wrong file can compute its checksums, so every mutation here does. The outcome must be an nbtrade error, or values
that are the original's bytes. Anything else ends the program: another error with a traceback, a crash with a signal.
"""

import json
import os
import random
import shutil
import struct
import sys

import numpy as np
import xxhash

import nbtrade
from crash_kit import LazyDisk
from nbtrade import BlockFile
from nbtrade.errors import NbtradeError
from nbtrade.storage.blockfile.folder import BlockFolder
from nbtrade.storage.blockfile.layout import PAGE, RECORD_STRUCT, ROW, ROW_STRUCT, SLOT_SIZE, pack_slot, unpack_slot
from nbtrade.storage.blockfile.snapshot_index import HEADER as BASE
from nbtrade.storage.columns import header
from nbtrade.storage.columns.column import Column
from nbtrade.storage.columns.compact import CompactColumn
from nbtrade.storage.columns.listmmf import import_listmmf
from untrusted_cases import DTYPES, JUNK, NUMBERS

DISK = LazyDisk()


class Tally:
    """How often which outcome came."""

    def __init__(self):
        self.same = self.refused = 0

    def attempt(self, look, note):
        try:
            look()
            self.same += 1
        except NbtradeError as error:
            assert len(str(error)) > 20, (note, error)
            self.refused += 1
        except BaseException:
            print(note, file=sys.stderr)
            raise


# --- columns -----------------------------------------------------------------------------------------------
def column_dtypes(tally, rng):
    """Every wrong dtype over bytes that would be addresses."""
    for description in (one for one in DTYPES if len(json.dumps(one)) < 1_900):  # others do not fit into the page
        for bits in (64, 128, 8):
            head = header.new_head({"dtype": description, "bits": bits}, header.Slot(2, 4, 0))
            with open("x.col", "wb") as file:
                file.write(head + (0xDEADBEEF).to_bytes(8, "little") * 64)
            for kind in (Column.open, Column, CompactColumn.open):
                tally.attempt(lambda kind=kind: list(kind("x.col").array), (description, bits))
    assert tally.same == 0, tally.same


def column_headers(tally, rng):
    """Wrong bits, counts, slots, kinds of JSON and lengths, by the thousand; flipped bits are healed or found."""
    rows, packed = np.arange(500, dtype="i8"), list(range(300))
    with Column("a.col", "i8") as column:
        column.extend(rows)
    with CompactColumn("b.col", "u24") as column:
        column.extend(packed)
    for i in range(1_500):
        name, kind = rng.choice((("a.col", Column), ("b.col", CompactColumn)))
        with open(name, "rb") as file:
            data = bytearray(file.read())
        if i % 4 == 0:
            data[rng.randrange(header.ROWS)] ^= 1 << rng.randrange(8)
        else:
            data[: header.ROWS] = _head(rng, name)
        with open("x.col", "wb") as file:
            file.write(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])
        tally.attempt(lambda kind=kind: _whole(kind, rows if kind is Column else packed), i)


def _head(rng, name):
    what = {"dtype": "<i8", "bits": 64} if name == "a.col" else {"bits": 24, "signed": False}
    slot = [2, 500 if name == "a.col" else 300, 0]
    change = rng.randrange(3)
    if change == 0:
        what[rng.choice([*what, "more"])] = rng.choice([*JUNK, *NUMBERS, *DTYPES[:20]])
    elif change == 1:
        what = rng.choice(
            [what, {}, [], {"bits": 8}, {"dtype": "<i8"}, {"bits": 0, "signed": True}, {"bits": 1, "signed": True}, "dtype", None, 5]
        )
    slot[rng.randrange(3)] = rng.choice([n for n in NUMBERS if n])
    try:
        return header.new_head(what, header.Slot(*slot))
    except struct.error:
        return header.new_head(what, header.Slot(2, 3, 0))


def _whole(kind, expected):
    with kind.open("x.col") as column:
        n = len(column)
        assert n <= len(expected) * 8  # another count is another file; it fits into this one
        got = column.array[: len(expected)]
        if column.width == "u24" if kind is CompactColumn else got.dtype == expected.dtype:  # else it is another file, too
            assert (got == expected[:n]).all()


# --- block files -------------------------------------------------------------------------------------------
VALUES = {
    "first/plain bytes": b"plain" * 30,
    "second/large bytes": b"large" * 5_000,
    "third/array": np.arange(3_000.0),
    "fourth/small array": np.zeros(5, [("a", "i8"), ("b", "f4")]),
    "fifth/packed": b"packed" * 1_000,
}


def _make(path, base):
    with BlockFile(path, step=65_536, disk=DISK) as blocks:
        blocks.put_many({name: value for name, value in VALUES.items() if "packed" not in name}, metadata={"a": 1})
        blocks.put("fifth/packed", VALUES["fifth/packed"], compress=3)
        blocks.flush()
        blocks.put("gone", b"1")
        blocks.flush()
        blocks.delete("gone")
        if base:
            blocks.checkpoint()
    with open(path, "rb") as file:
        return bytearray(file.read())


def _read(blocks):
    names = blocks.list()
    for name in [*names, *VALUES]:
        for look in (blocks.get, blocks.metadata, blocks.info):
            try:
                value = look(name)
            except NbtradeError:
                continue
            if look == blocks.get and name in VALUES:
                assert np.asarray(value).tobytes() == np.asarray(VALUES[name]).tobytes(), name
    for step in (lambda: blocks.get_many([*VALUES] * 20), lambda: dict(blocks.scan()), blocks.verify):
        try:
            step()
        except NbtradeError:
            continue


def block_dtypes(tally, rng):
    """Every wrong dtype, shape and kind of JSON in a block's metadata."""
    from nbtrade.storage.blockfile import values

    shapes = [[], [2], [-1], [5, 5], [2**63], [2**32, 2**32], [0, 2**62], [1] * 40, [True], ["8"], None, 8, "8", [8.0], [[8]], {}]
    metas = [json.dumps({"dtype": one, "shape": [8]}) for one in DTYPES]
    metas += [json.dumps({"dtype": "<i8", "shape": shape}) for shape in shapes]
    metas += ["[]", "", "{", "5", "null", "[" * 100_000, '{"dtype": "<i8"}', '{"dtype": "<i8", "shape": [8], "user": 5}', "\ud800"]
    for kind in (BlockFile, BlockFolder):
        target = "x.blocks" if kind is BlockFile else "x.folder"
        original = values._array_meta
        with kind(target) as blocks:
            for i, meta in enumerate(metas):
                values._array_meta = lambda array, metadata, meta=meta: meta.encode(errors="surrogatepass")
                for compress in (None, 3):
                    blocks.put(f"{i}/{compress}", np.full(8, 0xDEADBEEF), compress=compress)
                    blocks.put(f"large {i}/{compress}", np.full(4_000, 0xDEADBEEF), compress=compress)
        values._array_meta = original
        with kind(target, "r") if kind is BlockFile else kind(target) as blocks:
            for name in blocks.list():
                right = name.partition("/")[0] == str(next(i for i, meta in enumerate(metas) if '"user": 5' in meta))
                before = tally.same
                tally.attempt(lambda blocks=blocks, name=name: list(blocks.get(name)), metas[int(name.split("/")[0].split()[-1])][:200])
                tally.attempt(lambda blocks=blocks, name=name: blocks.info(name).dtype, name)
                assert right or tally.same == before, (name, metas[int(name.split("/")[0].split()[-1])])
                try:
                    blocks.metadata(name)
                except NbtradeError:
                    continue


def block_files(tally, rng):
    """Slots, records, bases and their rows with wrong numbers and right checksums."""
    for base in (False, True):
        whole = _make(f"{base}.blocks", base)
        slots = [unpack_slot(whole[at : at + SLOT_SIZE]) for at in (0, PAGE)]
        newest = max((slot for slot in slots if slot), key=lambda slot: slot.sequence)
        for i in range(500):
            data = bytearray(whole)
            rng.choice((_wrong_slot, _wrong_base if base else _wrong_record, _wrong_record, _wrong_base if base else _wrong_record, _flip))(
                data, newest, rng
            )
            mode = "a" if i % 6 == 0 else "r"
            with open("x.blocks", "wb") as file:
                file.write(data)

            def look(mode=mode):
                with BlockFile("x.blocks", mode, step=65_536, disk=DISK) as blocks:
                    _read(blocks)
                    if mode == "a":
                        blocks.put("more", b"x" * 5_000)
                        blocks.checkpoint()
                        assert blocks.get("more") == b"x" * 5_000

            tally.attempt(look, (base, i))


def _put_slot(data, slot):
    for at in (0, PAGE):
        data[at : at + SLOT_SIZE] = pack_slot(slot)


def _wrong_slot(data, slot, rng):
    name = rng.choice([name for name in slot._fields if name not in ("version", "features")])
    _put_slot(data, slot._replace(**{name: rng.choice([*NUMBERS, getattr(slot, name) + rng.choice((-1, 1, PAGE))]) % 2**64}))


def _wrong_rows(data, at, n, rng):
    row = at + ROW.itemsize * rng.randrange(n)
    one = list(ROW_STRUCT.unpack_from(data, row))
    for _ in range(rng.choice((1, 1, 2))):
        k = rng.randrange(1, len(one))
        width = {7: 32, 8: 16, 9: 8, 10: 8}.get(k, 64)
        one[k] = rng.choice([*NUMBERS, one[k] + 1, one[k] - 1, one[k] + PAGE]) % 2**width
    ROW_STRUCT.pack_into(data, row, *one)


def _wrong_record(data, slot, rng):
    """A change of one record's header, rows or heap, with its checksum made right."""
    found, at = [], slot.journal_at
    while data[at : at + 8] == b"NBGROUP1":
        found.append(at)
        at += RECORD_STRUCT.unpack_from(data, at)[5]
    if not found:
        return
    at = rng.choice(found)
    words = list(RECORD_STRUCT.unpack_from(data, at))
    n_rows, heap_size = words[3], words[4]
    change = rng.randrange(3)
    if change == 0:
        k = rng.randrange(1, 8)
        words[k] = rng.choice([*NUMBERS, words[k] + 1, at, at + PAGE]) % (2**32 if k > 5 else 2**64)
        RECORD_STRUCT.pack_into(data, at, *words)
        n_rows, heap_size = (words[3], words[4]) if not words[6] & 1 else (0, 0)
    elif change == 1:
        _wrong_rows(data, at + 64, n_rows, rng)
    else:
        data[at + 64 + n_rows * 64 + rng.randrange(max(heap_size, 1))] = rng.randrange(256)
    digest = xxhash.xxh3_64(bytes(data[at : at + 56]))
    digest.update(bytes(data[at + 64 : at + 64 + min(n_rows * 64 + heap_size, len(data))]))
    data[at + 56 : at + 64] = digest.digest()


def _wrong_base(data, slot, rng):
    at, size = slot.base_at, slot.base_size
    _, n, _, bits = BASE.unpack_from(data, at)
    change = rng.randrange(4)
    if change == 0:
        words = list(BASE.unpack_from(data, at))
        k = rng.randrange(1, 4)
        words[k] = rng.choice([*NUMBERS, words[k] + 1]) % 2**64
        BASE.pack_into(data, at, *words)
    elif change == 1:
        _wrong_rows(data, at + 64, n, rng)
    elif change == 2:  # order and starts
        struct.pack_into("<I", data, at + 64 + n * 64 + 4 * rng.randrange(n + (1 << bits)), rng.choice(NUMBERS) % 2**32)
    else:
        data[at + rng.randrange(size)] = rng.randrange(256)
    if rng.random() < 0.2:
        size = rng.choice((0, 1, 63, 64, size - 1, size // 2))
    _put_slot(data, slot._replace(base_size=size, base_check=xxhash.xxh3_64_intdigest(bytes(data[at : at + size]))))


def _flip(data, slot, rng):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.5:
        del data[rng.randrange(len(data)) :]


def block_folders(tally, rng):
    """A block's head with wrong numbers and the right checksum."""
    with BlockFolder("x.folder", disk=DISK) as blocks:
        for name, value in VALUES.items():
            blocks.put(name, value, metadata={"a": 1}, compress=3 if "packed" in name else None)
        paths = [blocks._file(name) for name in VALUES]
        whole = {path: path.read_bytes() for path in paths}
        for i in range(250):
            path = rng.choice(paths)
            data = bytearray(whole[path])
            if i % 3:
                _wrong_rows(data, 0, 1, rng)
            else:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            stop = 64 + sum(ROW_STRUCT.unpack_from(data)[7:9])
            data[:8] = xxhash.xxh3_64_digest(bytes(data[8:stop]))[::-1]
            path.write_bytes(data)
            tally.attempt(lambda: _read(blocks), i)
            path.write_bytes(whole[path])


# --- tapes and imports --------------------------------------------------------------------------------------
def manifests(tally, rng):
    """Each entry of a manifest replaced by each kind of junk, or removed."""
    from nbtrade import synthetic

    tape = nbtrade.ingest(synthetic.write_dbn("d.dbn", 1_000, live_orders=50), "x.tape", progress=False)
    path = tape.path / "manifest.json"
    text = path.read_text()

    def places(value, at=()):
        for key in value if isinstance(value, dict) else ():
            yield (*at, key)
            yield from places(value[key], (*at, key))

    def look():
        opened = nbtrade.open_tape("x.tape")
        (opened.info(), repr(opened), opened.price(5), opened.symbol, opened.content_hash)
        assert opened.events.tobytes() == tape.events.tobytes()

    for place in places(json.loads(text)):
        for junk in [*JUNK, NUMBERS, "remove"]:
            manifest = json.loads(text)
            inner = manifest
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = junk
            if junk == "remove":
                del inner[place[-1]]
            path.write_text(json.dumps(manifest))
            tally.attempt(look, (place, junk))
    for text in ("", "null", "5", "[" * 100_000, '{"format_version": ' + "9" * 5_000 + "}", '"x"', "NaN", "{" * 50_000):
        path.write_text(text)
        tally.attempt(look, text[:50])


def listmmf(tally, rng):
    """Wrong types and counts of a vendor's header."""
    for i in range(300):
        head = struct.pack(
            "<iiq", 1, rng.choice([*range(22), -1, 22, 2**31 - 1]), rng.choice([n for n in NUMBERS if n < 2**63] + [-1, -(2**63)])
        )
        with open("x.mmf", "wb") as file:
            file.write((head + rng.randbytes(rng.choice((0, 7, 8, 100, 1_000))))[: rng.choice((5000, 10, 16, 23))])
        shutil.rmtree("out", ignore_errors=True)
        os.mkdir("out")

        def look():
            try:
                len(import_listmmf("x.mmf", "out/x.col").array)
            except ValueError as error:
                if isinstance(error, NbtradeError) or "outside the range of datetime64[ns]" not in str(error):
                    raise
            except TypeError as error:
                if "pass the dtype" not in str(error):
                    raise

        tally.attempt(look, i)


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    counts = Tally()
    globals()[sys.argv[1]](counts, random.Random(int(sys.argv[3])))
    print(counts.same, counts.refused)
