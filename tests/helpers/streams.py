"""Convert RECORD arrays to tapes and to the model's records, for engine tests."""

from model import Record
from nbtrade.sources.base import Source
from nbtrade.tape import ingest


def model_records(records):
    """Convert RECORD[] to the model's records."""
    names = ("ts_event", "ts_recv", "order_id", "price", "size", "flags")
    columns = [records[name].tolist() for name in names]
    actions = [chr(a) for a in records["action"].tolist()]
    sides = [chr(a) for a in records["side"].tolist()]
    return [Record(*row) for row in zip(*columns, actions, sides, strict=True)]


def tape_of(records, folder, tick=None):
    """Ingest RECORD[] from memory."""
    source = Source(folder, "memory", "", 1, lambda progress: iter([records]))
    tapes = ingest._ingest(source, lambda _: folder / "x.tape", ingest.Choice(source, None, None), tick, True, False, one=True)
    return next(iter(tapes.values()))
