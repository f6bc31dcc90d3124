"""stub"""
from nbtrade.signals.expression import Expression, Flow, Level
def _level(name, k=0): return Level("observed", (), (name, k), label=f"{name}[{k}]")
def _flow(name, k=0): return Flow("observed", (), (name, k), label=f"{name}[{k}]")
def spread(): return (_level("ask_px") - _level("bid_px")).named("spread")
def mid(): return (0.5 * (_level("ask_px") + _level("bid_px"))).named("mid")
def ofi(levels=1):
    e = _flow("ofi", 0)
    for k in range(1, levels): e = e + _flow("ofi", k)
    return e.named(f"ofi({levels})")
def signed_volume(): return (_flow("buy_qty") - _flow("sell_qty")).named("signed_volume")
