#!/usr/bin/env python3
"""check_advise.py BALLAST PAGE: are the figures of docs/advise.md those that `ballast plan --advise` gives for SDXL?
Each table under "An example" is held against the plan whose flags stand in front of it. The model is hollow: plans
read no weight. Prints a line for each fault and exits with 1 if there is any."""
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAMS = {"SD.Next": "sdnext", "ComfyUI": "comfyui", "stable-diffusion.cpp": "sdcpp", "diffusers": "diffusers"}


def tables(page):
    """(flags, program, rows) of each table; flags of a later one change those of the first."""
    example = page.split("## An example")[1].split("\n## ")[0]
    flags = {}
    for text, table in re.findall(r"((?:^(?!\|).*\n)+)((?:^\|.*\n)+)", example, re.M):
        for quoted in re.findall(r"`(--[^`]*)`", text):
            words = quoted.split()
            flags.update(zip(words[::2], words[1::2]))
        rows = [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in table.splitlines()]
        yield dict(flags), rows[0][0].strip("| "), rows[2:]


def moved(row):
    """As the page writes it."""
    gigabytes = row["moved_bytes"] / 1e9
    return "0" if not row["moved_bytes"] else f"{gigabytes:.0f} GB" if gigabytes >= 99.5 else f"{gigabytes:.2f} GB"


def main():
    ballast, page = sys.argv[1:]
    faults, seen = [], 0
    with tempfile.TemporaryDirectory() as folder:
        model = f"{folder}/sdxl.safetensors"
        maker = Path(page).parent.parent / "bench" / "random_checkpoint.py"
        subprocess.run([sys.executable, "-B", maker, "sdxl", model, "--hollow"], check=True)
        for flags, program, rows in tables(Path(page).read_text(encoding="utf-8")):
            words = [word for flag in flags.items() for word in flag]
            done = subprocess.run([ballast, "plan", "-m", model, *words, "--advise", PROGRAMS[program], "--json"], check=True,
                                  capture_output=True, text=True)
            played = json.loads(done.stdout)["advise"]["rows"]
            if len(played) != len(rows):
                faults.append(f"{program}: {len(rows)} rows, and {len(played)} are played")
            for (name, seconds, bytes_moved), row in zip(rows, played):
                expected = (f"{row['seconds']:.2f}", moved(row)) if row["works"] else ("too large", "")
                seen += 1
                if (seconds, bytes_moved) != expected or row["set"][:16] != name.replace("`", "")[:16]:
                    faults.append(f"{program}, {name}: {seconds}, {bytes_moved}; it is {row['set']}: {', '.join(expected)}")
    if seen < 11:
        faults.append(f"{seen} rows were found")
    print("\n".join(faults))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
