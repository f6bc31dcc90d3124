"""Run a script in another process with a timeout, to test faults that crash or hang a process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from nbtrade._numba import jit

ROOT = Path(__file__).parents[2]


def run(script, *arguments, cache=None, jit=True, timeout=300):
    """The output lines of a Python script. Fails when it crashes or is still running after `timeout` seconds."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), *filter(None, sys.path)])}
    env["NUMBA_DISABLE_JIT"] = str(int(not jit))
    if cache is not None:
        env["NBTRADE_CACHE_DIR"] = str(cache)
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, check=False, env=env, cwd=Path(script).parent, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"return code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout.splitlines()


def new_cache(folder):
    """A cache folder that has the engine's kernels but no strategies or features: only these are compiled again, in seconds."""
    folder.mkdir()
    for path in jit.cache_dir().glob("*.nbc"):
        if not path.name.startswith(("strategy_", "features_")):
            shutil.copy(path, folder)
    return folder
