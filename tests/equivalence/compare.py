"""Compare two files of outcomes:  python tests/equivalence/compare.py OLD.json NEW.json

Prints a table of all differences, and exits with 1 if there are any. A run that only one file has is a difference.
"""

import json
import sys
from pathlib import Path


def leaves(value, path=""):
    """{path: value} of all values except dicts and lists."""
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    else:
        return {path: value}
    return {name: leaf for key, one in parts for name, leaf in leaves(one, f"{path}.{key}" if path else str(key)).items()}


def differences(old, new):
    """[(name, what, old value, new value)] of two mappings of name -> outcome."""
    found = []
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in old or name not in new:
            found.append((name, "run", *("present" if name in one else "absent" for one in (old, new))))
            continue
        a, b = leaves(old[name]), leaves(new[name])
        found.extend((name, key, a.get(key), b.get(key)) for key in {**a, **b} if a.get(key) != b.get(key))
    return found


def main(old_path, new_path):
    """Returns the exit code."""
    old, new = (json.loads(Path(path).read_text()) for path in (old_path, new_path))
    found = differences(old["days"], new["days"]) + differences(old["scenarios"], new["scenarios"])
    for name, what, a, b in found:
        print(f"{name:40} {what:26} {str(a)[:24]:>24} {str(b)[:24]:>24}")
    n_other = len({name for name, *_ in found})
    print(f"{len(old['scenarios'])} and {len(new['scenarios'])} runs: " + (f"{n_other} differ" if found else "all equal"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
