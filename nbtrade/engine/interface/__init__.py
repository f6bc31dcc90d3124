"""A strategy's arguments: `Market`, `Account`, `Order`, `Params`, `State`, `Features`, `Record`.

These classes document the arguments of a strategy and annotate them, so that an editor completes their names and mypy checks them. The
compiler ignores annotations: the values are records in the engine's memory (engine/kernels/market.py, shown.py, account.py), and a test
compares their fields, methods and signatures with these.

They contain only what a trader can know at that moment. `UNKNOWN` (-1) marks a number that cannot be known yet, `UNDEF_PRICE` the price of
an empty side.
"""

from nbtrade.engine.interface.account import Account as Account
from nbtrade.engine.interface.account import Order as Order
from nbtrade.engine.interface.market import Market as Market
from nbtrade.engine.interface.named import Features as Features
from nbtrade.engine.interface.named import Params as Params
from nbtrade.engine.interface.named import Record as Record
from nbtrade.engine.interface.named import State as State
