"""One progress bar for all long operations; tqdm is imported only when the bar is shown."""

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(total: int, unit: str, name: str, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar of `total` units; yields a function to call with the units done since the last call."""
    if not show:
        yield lambda n: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, unit_scale=True, desc=name, leave=False) as bar:

        def advance(n: int) -> None:
            if n > 0:
                bar.update(n)

        yield advance
