#!/usr/bin/env python3
"""FLUX.2 klein 4B at its published size on random weights in BF16, beside other programs; and what weights cost that are
stored small.

    klein.py BIN FOLDER [--flux FLUX2_C] [--torch PYTHON] [--threads N] [--size PIXELS] [--widened-size PIXELS]
             [--steps N] [--measured-steps N] [--only NAME,...]

BIN holds bench_multipliers, bench_prompts and bench_widening; FOLDER the files of random_klein.py, which are made if they
are not there (16 GB, by PYTHON where that is given: it needs numpy). FLUX2_C is antirez/flux2.c's program, with its
options ("flux --no-mmap"), PYTHON has diffusers. Names: multipliers, prompts, flux, torch, widening. Programs beside ours
make --measured-steps steps (2), and the others up to --steps (4) are counted as long as their mean; so is diffusers'
step. Each line is printed when it is known. Ten minutes in all on two cores; a machine that does something else meanwhile
measures that."""
import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def tell(name, text):
    print(f"{name:12s} {text}", flush=True)


def output_of(command, environment=None):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace",
                          env={**os.environ, **(environment or {})})
    if done.returncode:
        raise SystemExit(f"{command[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout + done.stderr


def numbers(pattern, text):
    found = [float(x) for x in re.findall(pattern, text, re.M)]
    if not found:
        raise SystemExit(f"no {pattern!r} in:\n{text}")
    return found


def multipliers(o, known):
    peak = numbers(r"^bf16 (\d+) GF/s", output_of([o.bin / "bench_multipliers", o.threads]))[0]
    tell("multipliers", f"{peak:.0f} GF/s of bf16 in a loop of nothing else")


def prompts(o, known):
    """The second prompt has one step, which is as long as one of the first's."""
    text = output_of([o.bin / "bench_prompts", o.folder, o.folder / "text_encoder",
                      o.folder / "vae" / "diffusion_pytorch_model.safetensors", o.size, f"{o.steps},1", "", "bf16"])
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    for name, steps, r in zip(("first", "second"), (o.steps, 1), lines):
        s = r["stages"]
        tell("prompts", f"{name}, {steps} steps: {r['seconds']:.2f} s, planned {r['plan_seconds']:.2f}, bound "
                        f"{r['bound_seconds']:.2f}; a step {s['pipeline'] / steps:.2f} s; resident at most "
                        f"{r['peak_rss_bytes'] * 1e-9:.2f} GB")
        tell("", json.dumps(s))
    first, s = lines[0], lines[0]["stages"]
    known.update(all=first["seconds"], step=s["pipeline"] / o.steps, encode=s["prompt"], decode=s["decode"],
                 computed=sum(s[k] for k in ("prompt", "pipeline", "decode")))


def flux(o, known):
    picture = o.folder / "flux2c.png"
    began = time.monotonic()
    text = output_of([*shlex.split(o.flux), "-d", o.folder, "-p", "a lighthouse at dusk", "-o", picture, "-W", o.size, "-H",
                      o.size, "-s", o.measured_steps, "-S", 1, "-v"], {"OPENBLAS_NUM_THREADS": str(o.threads)})
    took, whole = time.monotonic() - began, numbers(r"Total generation time: ([\d.]+) seconds", text)[0]
    picture.unlink(missing_ok=True)
    each = numbers(r"^ +Step \d+: ([\d.]+) ms", text)
    mean = sum(each) / len(each) / 1e3
    part = lambda what: numbers(what + r".*?done \(([\d.]+)s\)", text.replace("\n", " "))[0]
    counted = whole + (o.steps - len(each)) * mean
    tell("flux2.c", f"{len(each)} steps: {whole:.1f} s ({took:.1f} with its start and end); a step {mean:.2f} s, encoder "
                    f"{part('Encoding text'):.1f} s, decoder {part('Decoding image'):.1f} s; so {o.steps} steps "
                    f"{counted:.1f} s")
    if "all" in known:
        tell("", f"a picture takes {known['all'] / counted:.3f} of flux2.c's, a step {known['step'] / mean:.3f}")


def torch(o, known):
    text = output_of([o.torch, "-B", HERE / "klein_torch.py", o.folder, o.threads, o.size])
    r = json.loads(next(line for line in text.splitlines() if line.startswith('{"torch"')))
    whole = r["encode"] + o.steps * r["step"] + r["decode"]
    tell("diffusers", f"{r['diffusers']}, PyTorch {r['torch']}: encoder {r['encode']:.2f} s, a step {r['step']:.2f}, decoder "
                      f"{r['decode']:.2f}; so {o.steps} steps {whole:.1f} s without loading")
    if "all" in known:
        tell("", f"without loading a picture takes {known['computed'] / whole:.3f} of diffusers', the encoder "
                 f"{known['encode'] / r['encode']:.3f}, a step {known['step'] / r['step']:.3f}, the decoder "
                 f"{known['decode'] / r['decode']:.3f}")


def widening(o, known):
    for network in ("klein", "zimage"):
        text = output_of([o.bin / "bench_widening", network, o.widened_size, "Q8_0", 2, o.threads])
        for line in text.splitlines():
            tell(f"w. {network}", line)


def main():
    kinds = {"multipliers": multipliers, "prompts": prompts, "flux": flux, "torch": torch, "widening": widening}
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("bin", type=Path)
    p.add_argument("folder", type=Path)
    p.add_argument("--flux")
    p.add_argument("--torch")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--size", type=int, default=512)
    p.add_argument("--widened-size", type=int, default=1024)
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--measured-steps", type=int, default=2)
    p.add_argument("--only", default=",".join(kinds))
    o = p.parse_args()
    o.folder = o.folder.resolve()
    if not (o.folder / "transformer" / "diffusion_pytorch_model.safetensors").exists():
        subprocess.run([o.torch or sys.executable, "-B", HERE / "random_klein.py", o.folder], check=True)
    known = {}
    for name in o.only.split(","):
        if name in ("flux", "torch") and not getattr(o, name):
            continue
        kinds[name](o, known)


if __name__ == "__main__":
    main()
