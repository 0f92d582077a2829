#!/usr/bin/env python3
"""Full-size networks and pictures on made-up weights: seconds, GF/s, share of time by op, peak memory.

    run.py BIN [ROW ...]           all rows, or those named; BIN holds bench_network and bench_picture
    run.py BIN --offload           the table of offload modes

BENCH_MODELS names a folder with sd15.safetensors and sdxl.safetensors; without it they are made (9 GB) in the user's
cache folder. PEER names a command that runs another program on the same work; to it `sd15|vae|sdxl f32|bf16 SIZE
BATCH` is appended, and it prints "... N s, compile N s, ...", best of three. Both then run in turn, twice, and the ratio
of the better runs is printed (Ballast / peer); of the start, one's runs after the other's. A machine that does something
else meanwhile measures that."""
import json
import mmap
import multiprocessing
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

NETWORKS = {  # row: network, dtype, size, batch, rounds against the peer
    "sd15-bf16": ("sd15", "bf16", 512, 2, 2),
    "sd15-f32": ("sd15", "f32", 512, 1, 2),
    "vae-bf16": ("vae", "bf16", 512, 1, 2),
    "vae-f32": ("vae", "f32", 512, 1, 2),
    "sdxl-bf16": ("sdxl", "bf16", 1024, 1, 2),
}
PICTURES = {  # row: checkpoint, size, steps, cfg
    "start-sdxl": ("sdxl", 1024, 2, 1),
    "picture-sd15": ("sd15", 512, 4, 7),
}
OFFLOAD = ["SDXL=sdxl", "SD1.5=sd15:0.05"]  # on the CPU, where 0.1 of the memory holds all of the small model


def models_folder():
    given = os.environ.get("BENCH_MODELS")
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ballast-bench"


def checkpoint(name):
    path = models_folder() / f"{name}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"making {path.name} ...", flush=True)
        subprocess.run([sys.executable, "-B", Path(__file__).parent / "random_checkpoint.py", name, path], check=True)
    return str(path)


def output_of(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def first(pattern, text):
    found = re.search(pattern, text)
    if not found:
        raise SystemExit(f"no {pattern!r} in:\n{text}")
    return float(found.group(1))


def kinds(text):
    """Shares of time by kind of op, largest first: the part before the empty line."""
    found = re.findall(r"^\s*([\d.]+)%.*\s(\S+)$", text.split("\n\n")[0], re.M)
    return ", ".join(f"{name.lower()} {float(share):.0f}%" for share, name in found if float(share) >= 0.5)


def network(folder, row):
    what, dtype, size, batch, rounds = NETWORKS[row]
    own = [str(folder / "bench_network"), "unet" if what == "sd15" else what, dtype, str(size), str(batch), "3"]
    peer = os.environ.get("PEER")
    runs, peers = [], []
    for _ in range(rounds if peer else 1):
        runs.append(output_of(own))
        if peer:
            peers.append(output_of([*shlex.split(peer), what, dtype, str(size), str(batch)]))
    best = min(runs, key=lambda text: first(r"best of \d+: ([\d.]+) s", text))
    seconds, rss = first(r"best of \d+: ([\d.]+) s", best), first(r"peak RSS ([\d.]+) GB", best)
    rate = first(r"s, (\d+) GF/s, checksum", best)
    print(f"{row}: {what} {size}x{size} batch {batch} {dtype}: {seconds:.3f} s, {rate:.0f} GF/s, "
          f"peak RSS {rss:.2f} GB; {kinds(best)}")
    if peers:
        other = min(first(r"\b([\d.]+) s\b", text) for text in peers)
        line = f"    peer {other:.3f} s, ratio {seconds / other:.2f}"
        memory = [re.search(r"peak RSS ([\d.]+) GB", text) for text in peers]
        if memory[0]:
            other_rss = float(memory[0].group(1))
            line += f"; peak RSS {other_rss:.2f} GB, ratio {rss / other_rss:.2f}"
        print(f"{line}; peer: {peers[0].strip()}")
    sys.stdout.flush()


def touch_free_memory():
    with open("/proc/meminfo", encoding="ascii") as f:
        free = int(first(r"MemFree: +(\d+) kB", f.read())) * 1024 * 9 // 10
    piece = b"\1" * (64 << 20)
    with mmap.mmap(-1, free) as memory:
        while memory.tell() + len(piece) <= free:
            memory.write(piece)


def pages_at_hand():
    """A virtual machine gets a page from its host when it is first touched, and gives it back when it has lain idle. That
    may take longer than all that is measured at a start, so each run finds its pages there. In a process of its own, or
    its memory would count as that of the next program."""
    toucher = multiprocessing.Process(target=touch_free_memory)
    toucher.start()
    toucher.join()


def picture(folder, row):
    name, size, steps, cfg = PICTURES[row]
    path = checkpoint(name)
    runs = []
    for _ in range(3):
        with open(path, "rb") as f:  # into the page cache
            while f.read(1 << 24):
                pass
        pages_at_hand()
        runs.append(json.loads(output_of([str(folder / "bench_picture"), path, str(size), str(steps), str(cfg)])))
    best = min(runs, key=lambda run: run["start_seconds"])
    over = (best["peak_rss_bytes"] - best["planned_bytes"]) / 1e6
    print(f"{row}: {size}x{size}, cfg {cfg}: from process start to the first step's end, less a step: "
          f"{best['start_seconds']:.2f} s (step {best['step_seconds']:.2f} s); peak RSS "
          f"{best['peak_rss_bytes'] / 1e9:.2f} GB, {over:+.0f} MB against packed weights + arena", flush=True)
    peer = os.environ.get("PEER")
    if peer and row == "start-sdxl":
        texts = []
        for _ in range(2):  # its file is in the page cache from the second run on
            pages_at_hand()
            texts.append(output_of([*shlex.split(peer), name, "bf16", str(size), "1"]))
        other = min(first(r"compile ([\d.]+) s", text) for text in texts)
        print(f"    peer compiles in {other:.2f} s, ratio {best['start_seconds'] / other:.2f}", flush=True)


def offload(folder):
    rows = []
    for item in OFFLOAD:
        name, rest = item.split("=")
        model, colon, fraction = rest.partition(":")
        rows.append(f"{name}={checkpoint(model)}{colon}{fraction}")
    share = Path(__file__).parent.parent / "share" / "devices" / "rtx5090.json"
    print("on this machine: 256x256, 4 steps, then 384x384, 3 steps", flush=True)
    subprocess.run([folder / "bench_offload", "cpu", "256", "4", "3", *rows], check=True)
    print("planned for the described RTX 5090: 1024x1024, 25 steps, then 1536x1536, 15 steps", flush=True)
    rows = [row.rpartition(":")[0] if ":0" in row else row for row in rows]
    subprocess.run([folder / "bench_offload", f"sim:{share}", "1024", "25", "15", *rows], check=True)


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    folder, rows = Path(sys.argv[1]).resolve(), sys.argv[2:]
    if rows == ["--offload"]:
        return offload(folder)
    for row in rows or [*NETWORKS, *PICTURES]:
        if row in NETWORKS:
            network(folder, row)
        elif row in PICTURES:
            picture(folder, row)
        else:
            raise SystemExit(f"no row {row!r}; there are {', '.join([*NETWORKS, *PICTURES])}")


if __name__ == "__main__":
    main()
