#!/usr/bin/env python3
"""plan_models.py BALLAST [MODEL...]: what large models are planned to take on small machines, from headers alone.

MODEL as in tools/headers_only.py; without one z-image, flux1-dev, flux1-schnell, flux2-klein-9b and flux2-dev. For
cards of 8, 12, 16 and 24 GB, described in share/devices, in machines of 16, 32 and 64 GB, prints the tables of
docs/offload.md. The first picture of a process is planned, and the next with another prompt and with the same; 1024 x
1024, steps as the model's makers recommend. Only Python's own library is needed; nothing is run, and no weights are
there."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CARDS = [("8 GB", "rtx4060-laptop"), ("12 GB", "rtx3060-12gb"), ("16 GB", "rtx4060ti-16gb"), ("24 GB", "rtx4090")]
HOSTS = [16, 32, 64]
KEPT, FILE_RATE, FILE_LATENCY = 2, 2e9, 1e-4  # GB of the machine for all else; of an NVMe, as rtx4060-laptop-16gb has it


def plan(ballast, folder, card, *more):
    """The plan, or None where the budget is refused."""
    run = subprocess.run([ballast, "plan", "-m", folder, "--device", f"sim:{card}", "-p", "a lighthouse at dusk", "-W",
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


def table(ballast, folder, scratch):
    plans, gaps = {}, []
    for _, card in CARDS:
        for host in HOSTS:
            device = describe(os.path.join(scratch, "device.json"), card, host)
            plans[card, host] = [plan(ballast, folder, device, *more) for more in
                                 ((), ("--count", "2", "--text-cache", "0"), ("--count", "2"))]
    print("| card | machine | seconds | bound | host | read | new prompt | same prompt | to do |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, card in CARDS:
        for host in HOSTS:
            first, later, same = plans[card, host]
            if not first or not later or not same:
                print(f"| {name} | {host} GB | refused | | | | | | |")
                continue
            for p in (first, later, same):
                gaps.append(p["seconds"] / p["bound_seconds"] - 1)
            more = [(f"{h} GB of host memory", plans[card, h][1]) for h in HOSTS if h > host]
            print(f"| {name} | {host} GB | {first['seconds']:.1f} | {first['bound_seconds']:.1f} | "
                  f"{gb(first['store_peak_bytes'])} GB | {gb(first['loaded_bytes'])} GB | {later['seconds']:.1f} | "
                  f"{same['seconds']:.1f} | "
                  f"{advice(later, more)} |")
    return gaps


def main(ballast, models):
    gaps = []
    for model in models:
        with tempfile.TemporaryDirectory() as scratch:
            folder = os.path.join(scratch, model)
            subprocess.run([sys.executable, os.path.join(HERE, "../tools/headers_only.py"), model, folder], check=True)
            print(f"\n{model}:\n")
            gaps += table(ballast, folder, scratch)
    print(f"\n{len(gaps)} plans, on average {100 * sum(gaps) / len(gaps):.2f}% above their bounds, at most "
          f"{100 * max(gaps):.1f}%.")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:] or ["z-image", "flux1-dev", "flux1-schnell", "flux2-klein-9b", "flux2-dev"])
