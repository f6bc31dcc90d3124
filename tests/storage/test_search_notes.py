"""Notes of earlier searches make the next ones faster, never wrong, for any contents of the notes and any change of the array."""

import bisect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nbtrade._numba.jit import JIT
from nbtrade.storage.search import search
from nbtrade.storage.search.kernels import cached_search
from search_cases import questions, shapes

NOTED = cached_search.EVEN_ABOVE  # values above which notes are used


@settings(max_examples=60 if JIT else 10, deadline=None)
@given(st.data())
def test_notes_of_what_was_there_before_do_no_harm(data):
    """Arrays one after another in the same memory, of other values, lengths, strides and types, with searches in each, also alternating."""
    memory, rng = np.zeros(4 * NOTED, np.int64), np.random.default_rng(data.draw(st.integers(0, 99)))
    views = []
    for _ in range(data.draw(st.integers(2, 6))):
        kind = data.draw(st.sampled_from(["i8", "u8", "i4"]))
        start, stride = data.draw(st.sampled_from([(0, 1), (0, 2), (512, 1), (512, 3)]))
        view = memory.view(kind)[start::stride]
        view = view[: data.draw(st.integers(NOTED, len(view)))]
        wanted = data.draw(st.sampled_from(sorted(shapes(1, rng))))
        ranks = shapes(len(view), rng)[wanted].argsort(kind="stable") if kind == "i4" else shapes(len(view), rng)[wanted]
        views.append((view, np.sort(np.maximum(ranks, 0) if kind == "u8" else ranks)))
    for view, made in views:
        view[:] = made  # in place: the others' values are gone
        for x in questions(np.asarray(view, np.int64), 12, rng).tolist():
            assert search.lower_bound(view, x) == bisect.bisect_left(view, x)
            assert search.upper_bound(view, x) == bisect.bisect_right(view, x)
    memory.sort()
    others = memory, memory[::2], memory[: NOTED + 1], memory[512:]
    for x in questions(memory, 12, rng).tolist():
        for view in others:
            assert search.lower_bound(view, x) == bisect.bisect_left(view, x)


@settings(max_examples=60 if JIT else 10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["i8", "u8"]), st.integers(0, 3))
def test_notes_may_hold_anything(seed, kind, scrambled):
    """Random words, words of the values elsewhere, all NOT_NOTED: each answer is right, and nothing is read beyond the ends."""
    rng = np.random.default_rng(seed)
    everything = np.sort(rng.integers(0, 2**62, NOTED + 2000)).astype(kind)
    values = everything[700:-700]
    notes = np.zeros(cached_search.N_NOTES, kind)
    of_x = np.uint64 if kind == "u8" else np.int64
    for x in rng.choice(everything, 40):
        for find, side in ((cached_search.lower_bound_cached, "left"), (cached_search.upper_bound_cached, "right")):
            assert find(values, of_x(x), notes) == np.searchsorted(values, x, side)
        keep = notes[:: cached_search.MEMO_SIZE].copy()  # they are still said to be of this array
        words = (
            notes,
            rng.integers(0, 2**63, len(notes)).astype(kind),
            rng.choice(everything, len(notes)),
            np.full(len(notes), 2**63 - 1, kind),
        )
        notes[:] = words[scrambled]
        notes[:: cached_search.MEMO_SIZE] = keep


def test_threads_share_the_notes():
    """Four threads search in one array and each in its own, which changes: more arrays than places for notes, and each answer is right."""
    shared = np.sort(np.random.default_rng(8).integers(0, 10**9, NOTED))

    def ask(seed):
        rng = np.random.default_rng(seed)
        own = [np.sort(rng.integers(0, 10**9, NOTED)) for _ in range(3)]
        for _ in range(60 if JIT else 5):
            for moved in own:
                moved[:] += rng.integers(0, 10)
            for x in rng.integers(0, 10**9, 20).tolist():
                assert search.lower_bound(shared, x) == np.searchsorted(shared, x)
                assert all(search.upper_bound(values, x) == np.searchsorted(values, x, "right") for values in own)
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(4)))


PAGES = """
import numpy as np
from nbtrade.storage.search.kernels import search, cached_search

class Counting(np.ndarray):
    pages = set()
    def __getitem__(self, i):
        Counting.pages.add(int(i) // 512)
        return np.int64(super().__getitem__(i))

rng = np.random.default_rng(5)
n = 100_000
for values in (np.sort(rng.integers(0, 2**60, n)), np.sort((2.0 ** rng.uniform(0, 62, n)).astype(np.int64)),
               np.cumsum((rng.random(n) < 0.01) * rng.integers(0, 10**9, n) + rng.integers(0, 2, n))):
    notes, looked = np.zeros(cached_search.N_NOTES, np.int64), []
    for x in rng.choice(values, 1500).tolist():
        for find, more in ((search.lower_bound, ()), (cached_search.lower_bound_cached, (notes,))):
            Counting.pages = set()
            assert find(values.view(Counting), x, *more) == np.searchsorted(values, x)
            looked.append(len(Counting.pages))
    print(np.mean(looked[-1000::2]), np.mean(looked[-999::2]), max(looked[::2]), max(looked[1::2]))
"""


def test_notes_leave_one_or_two_pages_to_look_at():
    """Counted without the JIT, after 1,000 searches: halving 100,000 values looks at some 8 pages of them."""
    code = "import os; os.environ['NUMBA_DISABLE_JIT'] = '1'" + PAGES
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)})
    for line in done.stdout.splitlines():
        halving, noted, most_halving, most_noted = map(float, line.split())
        assert noted < 2, line
        assert halving > 7, line
        assert most_noted <= most_halving, line
    assert done.stdout.count("\n") == 3
