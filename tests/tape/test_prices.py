"""Prices and ticks: exact both ways for any tick, and every price off the tick is rejected."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbtrade.errors import OffTick
from nbtrade.prices import TickSize

TICKS = ["0.25", "0.01", "0.005", "1/64", "1e-9", "1/1024", "0.37", "5", "1/3", "12.5", "0.015625"]
# forms of the same tick; the last fields: its fraction, and the largest price at which floats distinguish ticks
SAME = [
    (0.25, "0.25", Fraction(1, 4)),
    (0.01, "0.01", Fraction(1, 100)),
    (0.005, Decimal("0.005"), Fraction(1, 200)),
    (1 / 64, "1/64", Fraction(1, 64)),
    (1e-9, "1e-9", Fraction(1, 10**9)),
    (2.0**-30, Fraction(1, 2**30), Fraction(1, 2**30)),
    (5, np.float64(5), Fraction(5)),
    (np.int32(10), np.float32(10), Fraction(10)),
]


@pytest.mark.parametrize(("one", "other", "exact"), SAME)
def test_a_tick_is_what_it_says(one, other, exact):
    """Decimal and binary floats, text, Decimal, Fraction and NumPy numbers give the intended fraction."""
    assert TickSize(one).exact == TickSize(other).exact == exact
    assert float(TickSize(one)) == float(exact)


@given(st.sampled_from(TICKS), st.lists(st.integers(-(2**40), 2**40), min_size=1), st.data())
def test_prices_and_ticks_are_each_others_inverse(tick, ticks, data):
    """For every tick and every number of ticks that floats can distinguish: single, in arrays of any shape, and as the nearest float."""
    size = TickSize(tick)
    most = int(Fraction(2**46) / max(size.exact.denominator, 1))  # 16 last places of the price are less than a tick
    ticks = [k % (2 * most) - most for k in ticks]
    prices = [size.price(k) for k in ticks]
    assert prices == [float(k * size.exact) for k in ticks]
    assert [size.ticks(price) for price in prices] == ticks
    assert all(type(size.ticks(price)) is int and type(price) is float for price in prices)
    for shape in ((-1,), (1, -1), (-1, 1)):
        array = np.array(ticks, np.int64).reshape(shape)
        assert size.price(array).tolist() == np.array(prices).reshape(shape).tolist()
        assert size.ticks(size.price(array)).tolist() == array.tolist()
    k = data.draw(st.sampled_from(ticks))
    for exact in (k * size.exact, str(k * size.exact)):
        assert size.ticks(exact) == k


@given(st.sampled_from(TICKS), st.integers(-(2**62), 2**62))
def test_exact_numbers_have_no_limit(tick, k):
    """Fractions of any size are restored, and whole currency is exact, single and in arrays."""
    size = TickSize(tick)
    assert size.ticks(k * size.exact) == k
    assert size.price(np.array([k])).tolist() == [k * size.exact.numerator / size.exact.denominator]
    whole = k // size.exact.denominator * size.exact.numerator
    if abs(whole / size.exact) < 2**63 and abs(whole) < 2**63:
        assert size.ticks(np.array([whole], np.int64)).tolist() == [size.ticks(whole)] == [whole / size.exact]


@given(st.sampled_from(TICKS), st.integers(-(10**9), 10**9), st.fractions(Fraction(1, 1000), Fraction(999, 1000)))
def test_off_tick_is_an_error(tick, k, part):
    """An error of a thousandth of a tick is detected in any type; the message has the price and its index."""
    size = TickSize(tick, "TEST")
    price = (k + part) * size.exact
    with pytest.raises(OffTick, match=f"^price {price} is not a multiple of the tick .* of TEST; its neighbours are"):
        size.ticks(price)
    as_float = float(price)
    if abs(k) < 10**6:
        with pytest.raises(OffTick, match="is not a multiple of the tick"):
            size.ticks(as_float)
        good = [size.price(k), size.price(k + 1)]
        with pytest.raises(OffTick, match=r"at index 2 is not a multiple") as error:
            size.ticks(np.array([*good, as_float, *good]))
        assert str(as_float) in str(error.value)
        with pytest.raises(OffTick, match=r"at index 1, 0 is not a multiple"):
            size.ticks(np.array([good, [as_float, as_float]]))
        assert isinstance(error.value, ValueError)


def test_the_message_says_what_to_do():
    """The neighbours if there are any; that floats are too coarse; that it is not a number."""
    size = TickSize(0.01)
    with pytest.raises(OffTick, match=r"price 5.005 is not a multiple of the tick 0.01; its neighbours are 5.0 and 5.01. Round it"):
        size.ticks(5.005)
    with pytest.raises(OffTick, match=r"price 1000000000000000.0 .*floats of that size are too coarse"):
        size.ticks(1e15)
    for no_number in (float("nan"), float("inf")):
        with pytest.raises(OffTick, match="it is not a number"):
            size.ticks(no_number)
        with pytest.raises(OffTick, match=r"at index 1 .*it is not a number"):
            size.ticks([1.0, no_number])
    with pytest.raises(OffTick, match="price 3 at index 1"):
        TickSize(2).ticks(np.array([2, 3]))


def test_arithmetic_may_cost_a_float_its_last_places():
    """0.1 + 0.2 is three ticks of 0.1; a mean of two prices is accepted if it is on the tick."""
    size = TickSize("0.1")
    assert size.ticks(0.1 + 0.2) == 3
    assert size.ticks(np.cumsum(np.full(1000, 0.1))[:20]).tolist() == list(range(1, 21))
    assert TickSize("0.005").ticks((4.01 + 4.02) / 2) == 803


def test_parts_of_a_tick_have_a_price():
    """A mid may be between ticks: floats are multiplied."""
    size = TickSize("0.25")
    assert (size.price(0.5), size.price(np.float64(0.5))) == (0.125, 0.125)
    assert size.price(np.array([0.5, 1])).tolist() == [0.125, 0.25]
    assert size.price([]).tolist() == size.ticks([]).tolist() == []


def test_what_is_no_tick_is_refused():
    """Zero, negative, not a number; and for sources and tapes, anything but a multiple of 1e-9."""
    for bad in (0, -1, "0", -0.25, float("nan"), float("inf"), "x", "1/0"):
        with pytest.raises(ValueError, match=r"is not positive|is not a price"):
            TickSize(bad)
    for bad in (None, True, [1], b"1"):
        with pytest.raises(TypeError, match="is not a price"):
            TickSize(bad)
    assert TickSize("1/64").units == 15_625_000
    assert TickSize(0.01).units == 10_000_000
    assert TickSize.of_units(1).units == 1
    for fine in ("1/1024", "1e-10", "1/3"):
        with pytest.raises(ValueError, match="is not a positive multiple of 1e-9"):
            _ = TickSize(fine).units
    assert (repr(TickSize(0.25)), str(TickSize("1/64"))) == ("TickSize('1/4')", "0.015625")
