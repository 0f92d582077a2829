#!/usr/bin/env python3
"""Z-Image at 512 x 512 from an eight-bit file, at its published size on random weights, beside other programs.

    zimage.py BIN FOLDER [--torch PYTHON] [--sd SD_CLI] [--threads N] [--budget SIZE] [--only NAME,...]

BIN holds bench_multipliers, bench_network and bench_prompts; FOLDER the files of random_zimage.py, which are made if they
are not there (11 GB). PYTHON has PyTorch; SD_CLI is stable-diffusion.cpp's sd-cli. Names: multipliers, step, torch, sd,
prompts. Each line is printed when it is known; six minutes in all on two cores. A machine that does something else
meanwhile measures that."""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BLOCKS = 30 + 2 * 1024 / 1088 + 2 * 64 / 1088  # of a step, in those that see picture and caption
SD_SECONDS = 240  # for a step of sd-cli with its start


def tell(name, text):
    print(f"{name:12s} {text}", flush=True)


def output_of(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def number(pattern, text):
    found = re.search(pattern, text, re.M)
    if not found:
        raise SystemExit(f"no {pattern!r} in:\n{text}")
    return float(found.group(1))


def multipliers(o, known):
    known["peak"] = number(r"^bf16 (\d+) GF/s", output_of([o.bin / "bench_multipliers", o.threads]))
    tell("multipliers", f"{known['peak']:.0f} GF/s of bf16 in a loop of nothing else")


def step(o, known):
    text = output_of([o.bin / "bench_network", "zimage", "bf16", 512, 1, 2, 0, o.threads, "Q8_0"])
    known["step"] = number(r"best of \d+: ([\d.]+) s", text)
    linear, share = number(r"x +(\d+) GF/s +LINEAR$", text), number(r"^ *([\d.]+)%.* LINEAR$", text)
    widening = number(r"^widening ([\d.]+) s a run", text)
    tell("step", f"{known['step']:.2f} s, {share:.0f}% of it linear layers at {linear:.0f} GF/s with widening "
                 f"({widening:.2f} s)")
    if "peak" in known:
        rate = linear / (1 - widening / (known["step"] * share / 100))
        tell("", f"{linear / known['peak']:.2f} of the multipliers; without widening {rate / known['peak']:.2f}")


def torch(o, known):
    r = json.loads(output_of([o.torch, HERE / "zimage_torch.py", o.threads]))
    whole = r["block_seconds"] * BLOCKS
    tell("torch", f"{r['torch']}: block {r['block_seconds']:.3f} s, so a step {whole:.2f} s; products "
                  f"{r['product_flops'] / r['product_seconds'] * 1e-9:.0f} GF/s")
    if "step" in known:
        tell("", f"a step takes {known['step'] / whole:.2f} of PyTorch's")


def sd(o, known):
    """Ended once its step is known: decoding is not looked at."""
    command = [o.sd, "--diffusion-model", o.folder / "transformer.gguf", "--llm", o.folder / "encoder.gguf", "--vae",
               o.folder / "vae.safetensors", "-p", "a lighthouse at dusk", "--cfg-scale", 1, "--steps", 1, "-W", 512, "-H", 512,
               "-t", o.threads, "-s", 1, "-o", "/dev/null", "-v"]
    made = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            errors="replace", start_new_session=True)
    signal.signal(signal.SIGALRM, lambda *_: made.kill())
    signal.alarm(SD_SECONDS)
    lines, began, took = [], time.monotonic(), None
    for line in made.stdout:
        lines.append(line)
        found = re.search(r"sampling completed, taking ([\d.]+)s", line)
        if found:
            took = float(found.group(1))
            break
    signal.alarm(0)
    made.kill()
    made.wait()
    if took is None:
        tell("sd", f"no step in {time.monotonic() - began:.0f} s; it said: " + " | ".join(x.strip() for x in lines[-3:]))
        return
    tell("sd", f"stable-diffusion.cpp: a step {took:.2f} s")
    if "step" in known:
        tell("", f"a step takes {known['step'] / took:.2f} of stable-diffusion.cpp's")


def prompts(o, known):
    text = output_of([o.bin / "bench_prompts", *(o.folder / n for n in ("transformer.gguf", "encoder.gguf", "vae.safetensors")),
                      512, 1, o.budget])
    for name, r in zip(("first", "second"), map(json.loads, text.splitlines())):
        tell("prompts", f"{name} {r['seconds']:.2f} s, planned {r['plan_seconds']:.2f}, bound {r['bound_seconds']:.2f} "
                        f"({r['seconds'] / r['bound_seconds']:.3f}); moved {r['moved_bytes'] * 1e-9:.2f} GB, plan's peak "
                        f"{r['peak_bytes'] * 1e-9:.2f}, resident at most {r['peak_rss_bytes'] * 1e-9:.2f} GB; {r['sum']}")
        tell("", json.dumps(r["stages"]))


def main():
    kinds = {"multipliers": multipliers, "step": step, "torch": torch, "sd": sd, "prompts": prompts}
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("bin", type=Path)
    p.add_argument("folder", type=Path)
    p.add_argument("--torch")
    p.add_argument("--sd")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--budget", default="5500M")
    p.add_argument("--only", default=",".join(kinds))
    o = p.parse_args()
    if not (o.folder / "transformer.gguf").exists():
        subprocess.run([sys.executable, "-B", HERE / "random_zimage.py", o.folder], check=True)
    known = {}
    for name in o.only.split(","):
        if name in ("torch", "sd") and not getattr(o, name):
            continue
        kinds[name](o, known)


if __name__ == "__main__":
    main()
