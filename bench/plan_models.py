#!/usr/bin/env python3
"""plan_models.py [--sample] BALLAST [MODEL...]: what large models are planned to take on small machines, from headers.

MODEL as in tools/headers_only.py; without one those of MODELS. For cards of 8, 12, 16 and 24 GB, described in
share/devices, in machines of 16, 32 and 64 GB, prints the tables of docs/offload.md; with --sample alone the first card
in the first machine, which a test holds. The first picture of a process is planned, and the next with another prompt
and with the same; 1024 x 1024, steps as the model's makers recommend. It fails where a plan is refused or plans are on
average more than 3% above their bounds. Only Python's own library is needed; nothing is run, and no weights are
there."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CARDS = [("8 GB", "rtx4060-laptop"), ("12 GB", "rtx3060-12gb"), ("16 GB", "rtx4060ti-16gb"), ("24 GB", "rtx4090")]
HOSTS = [16, 32, 64]
MODELS = ["z-image", "z-image-q8_0", "flux1-dev", "flux1-schnell", "flux2-klein-9b", "flux2-dev", "sd3.5-medium"]
MOST_GAP = 0.03  # of all plans, on average
KEPT, FILE_RATE, FILE_LATENCY = 2, 2e9, 1e-4  # GB of the machine for all else; of an NVMe, as rtx4060-laptop-16gb has it


def plan(ballast, folder, card, *more):
    """The plan, or None where the budget is refused."""
    gguf = os.path.join(folder, "transformer.gguf")
    files = ["-m", gguf, "--text-encoder", os.path.join(folder, "encoder.gguf"), "--vae",
             os.path.join(folder, "vae.safetensors")] if os.path.exists(gguf) else ["-m", folder]
    run = subprocess.run([ballast, "plan", *files, "--device", f"sim:{card}", "-p", "a lighthouse at dusk", "-W",
                          "1024", "-H", "1024", "--json", "-q", *more], capture_output=True, text=True)
    return json.loads(run.stdout) if run.returncode == 0 else None


def describe(path, card, host):
    with open(os.path.join(HERE, "../share/devices", card + ".json")) as f:
        d = json.load(f)
    d.update(host_bytes=int((host - KEPT) * 1e9), file_rate=FILE_RATE, file_latency=FILE_LATENCY)
    with open(path, "w") as f:
        json.dump(d, f)
    return path


def gb(n):
    return f"{n / 1e9:.1f}"


def advice(here, others):
    """What would save most; others: [(words, plan)] of machines with more."""
    saved = [(here["seconds"] - p["seconds"], words) for words, p in others if p]
    best = max(saved, default=(0, ""))
    return f"{best[1]}: {best[0]:.1f} s less" if best[0] > 0.05 * here["seconds"] else "nothing"


def table(ballast, folder, scratch, cards, hosts):
    plans, gaps = {}, []
    for _, card in cards:
        for host in hosts:
            device = describe(os.path.join(scratch, "device.json"), card, host)
            plans[card, host] = [plan(ballast, folder, device, *more) for more in
                                 ((), ("--count", "2", "--text-cache", "0"), ("--count", "2"))]
    print("| card | machine | seconds | bound | host | read | new prompt | same prompt | to do |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, card in cards:
        for host in hosts:
            first, later, same = plans[card, host]
            if not first or not later or not same:
                print(f"| {name} | {host} GB | refused | | | | | | |")
                continue
            for p in (first, later, same):
                gaps.append(p["seconds"] / p["bound_seconds"] - 1)
            more = [(f"{h} GB of host memory", plans[card, h][1]) for h in hosts if h > host]
            print(f"| {name} | {host} GB | {first['seconds']:.1f} | {first['bound_seconds']:.1f} | "
                  f"{gb(first['store_peak_bytes'])} GB | {gb(first['loaded_bytes'])} GB | {later['seconds']:.1f} | "
                  f"{same['seconds']:.1f} | "
                  f"{advice(later, more)} |")
    return gaps


def main(ballast, models, cards=CARDS, hosts=HOSTS):
    gaps = []
    for model in models:
        with tempfile.TemporaryDirectory() as scratch:
            folder = os.path.join(scratch, model)
            subprocess.run([sys.executable, os.path.join(HERE, "../tools/headers_only.py"), model, folder], check=True)
            print(f"\n{model}:\n")
            gaps += table(ballast, folder, scratch, cards, hosts)
    mean = sum(gaps) / max(len(gaps), 1)
    print(f"\n{len(gaps)} plans, on average {100 * mean:.2f}% above their bounds, at most {100 * max(gaps, default=0):.1f}%.")
    return len(gaps) == 3 * len(models) * len(cards) * len(hosts) and mean <= MOST_GAP


if __name__ == "__main__":
    given = [a for a in sys.argv[1:] if a != "--sample"]
    if not given:
        sys.exit(__doc__)
    sample = len(given) < len(sys.argv) - 1
    sys.exit(not main(given[0], given[1:] or MODELS, *((CARDS[:1], HOSTS[:1]) if sample else ())))
