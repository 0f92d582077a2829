#!/usr/bin/env python3
"""What `ballast tune` finds, and what it is worth: pictures untuned and tuned, in turn.

    tune.py BIN [ROW ...]     all rows, or those named; BIN holds ballast
    tune.py BIN pages         what huge pages are worth: pictures with them and without, in turn

TIME is how long each tuning may take (3m), PAIRS how many pairs of pictures follow it (10), BENCH_MODELS as in run.py.
Each row: what tune says; then the ratio of the device's seconds, tuned to untuned, with the 95% interval of a paired
bootstrap, and a sign test. The end is 1 where tuned is slower beyond doubt. A machine that does something else
meanwhile measures that; its load is printed."""
import ctypes
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import run  # noqa: E402

EMBEDDED = None
ROWS = {  # row: checkpoint, flags
    "mini-128": (EMBEDDED, ["-W", "128", "-H", "128"]),
    "mini-384": (EMBEDDED, ["-W", "384", "-H", "384"]),
    "mini-batch": (EMBEDDED, ["-W", "128", "-H", "128", "--batch", "8"]),
    "mini-any": (EMBEDDED, ["-W", "128", "-H", "128"]),
    "sd15-256": ("sd15", ["-W", "256", "-H", "256", "-s", "4", "--dtype", "bf16"]),
    "sd15-256-any": ("sd15", ["-W", "256", "-H", "256", "-s", "4", "--dtype", "bf16"]),
    "sd15-bf16": ("sd15", ["-W", "512", "-H", "512", "-s", "4", "--dtype", "bf16"]),
    "sd15-f32": ("sd15", ["-W", "512", "-H", "512", "-s", "4", "--dtype", "f32"]),
}


PR_SET_THP_DISABLE = 41  # prctl(2): no huge pages for this process and those it becomes


def no_pages():
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def ballast(folder, cache, arguments, before=None):
    environment = dict(os.environ, XDG_CACHE_HOME=str(cache))
    done = subprocess.run([str(folder / "ballast"), *arguments], env=environment, capture_output=True, text=True,
                          preexec_fn=before)
    if done.returncode:
        raise SystemExit(f"ballast {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def picture(folder, cache, flags, out, before=None):
    report = json.loads(ballast(folder, cache, ["generate", "-p", "a castle", "-S", "1", "--json", "--overwrite", "-o",
                                                str(out), *flags], before))
    return sum(batch["ledger"]["stages"].get("pipeline", 0) + batch["ledger"]["stages"].get("decode", 0)
               for batch in report["batches"])


def interval(logs):
    draw = random.Random(1)
    means = sorted(sum(draw.choice(logs) for _ in logs) / len(logs) for _ in range(4000))
    return math.exp(means[100]), math.exp(means[3899])


def sign_test(wins, count):
    return sum(math.comb(count, k) for k in range(wins, count + 1)) / 2 ** count


def row(folder, name, scratch):
    model, flags = ROWS[name]
    flags = (["-m", run.checkpoint(model)] if model else []) + flags
    plain, tuned = scratch / f"{name}-plain", scratch / f"{name}-tuned"
    bits = ["--bits", "any"] if name.endswith("any") else []
    table = ballast(folder, tuned, ["tune", *flags, "--time", os.environ.get("TIME", "3m"), *bits])
    print(table.strip())
    if table.rstrip().split("choices, ")[-1].startswith("0 kept"):
        print(f"{name}: nothing was kept, so tuned is untuned; load {os.getloadavg()[0]:.1f}\n", flush=True)
        return False
    for cache in plain, tuned:  # a first picture of each: files in the page cache, and calibrated plans
        picture(folder, cache, flags, scratch / "warm.png")
    pairs = []
    for i in range(int(os.environ.get("PAIRS", "10"))):
        order = [plain, tuned] if i % 2 else [tuned, plain]
        seconds = {cache: picture(folder, cache, flags, scratch / f"{cache.name}.png") for cache in order}
        pairs.append((seconds[plain], seconds[tuned]))
    same = (scratch / f"{plain.name}.png").read_bytes() == (scratch / f"{tuned.name}.png").read_bytes()
    logs = [math.log(after / before) for before, after in pairs]
    low, high = interval(logs)
    wins = sum(x < 0 for x in logs)
    ratio = math.exp(sum(logs) / len(logs))
    print(f"{name}: {sorted(p[0] for p in pairs)[len(pairs) // 2]:.3f} s -> "
          f"{sorted(p[1] for p in pairs)[len(pairs) // 2]:.3f} s, tuned takes {ratio:.3f} [{low:.3f}, {high:.3f}] of untuned, "
          f"faster in {wins} of {len(pairs)} pairs (p {sign_test(wins, len(pairs)):.3f}), "
          f"{'the same file' if same else 'another file'}, load {os.getloadavg()[0]:.1f}\n", flush=True)
    return low > 1 or not (same or bits)


def pages(folder, scratch):
    for name, flags in ("384 x 384", ["-W", "384", "-H", "384"]), ("128 x 128", ["-W", "128", "-H", "128"]):
        logs = []
        for i in range(int(os.environ.get("PAIRS", "10")) + 1):
            order = [None, no_pages] if i % 2 else [no_pages, None]
            seconds = {way: picture(folder, scratch, flags, scratch / "pages.png", way) for way in order}
            logs += [math.log(seconds[no_pages] / seconds[None])] if i else []  # the first warms up
        low, high = interval(logs)
        print(f"{name}: without huge pages {math.exp(sum(logs) / len(logs)):.3f} [{low:.3f}, {high:.3f}] of the seconds "
              f"with them, load {os.getloadavg()[0]:.1f}", flush=True)


def main():
    folder, names = Path(sys.argv[1]).resolve(), sys.argv[2:] or list(ROWS)
    with tempfile.TemporaryDirectory() as scratch:
        if names == ["pages"]:
            return pages(folder, Path(scratch))
        return any([row(folder, name, Path(scratch)) for name in names])


if __name__ == "__main__":
    sys.exit(main())
