"""Draws the contact sheet (the first 36 prompts of prompts.txt) and the loss curve: OUT/contact-sheet.png, OUT/loss.png.

    python contact_sheet.py OUT
"""
import sys
from pathlib import Path

import matplotlib
import torch

from captions import prompts
from config import THREADS, WORK
from sample import Sampler, sheet

SHEET, COLUMNS = 36, 6


def loss_curve(path):
    """One curve a training, from the logs that the saved states keep."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, plots = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
    titles = {"decoder": "decoder: L1", "encoder": "encoder: squared error of the latent", "unet": "UNet and text: weighted loss"}
    for plot, (name, title) in zip(plots, titles.items(), strict=True):
        log = torch.load(WORK / f"{name}.pt", weights_only=False)["log"]
        plot.semilogy([step for step, _ in log], [value for _, value in log])
        plot.set(title=title, xlabel="step")
        plot.grid(True, which="both", alpha=0.3)
    figure.savefig(path, dpi=80)


def main(out):
    torch.set_num_threads(THREADS)
    shown = [prompt for _, prompt in prompts()[:SHEET]]
    sheet(Sampler().pictures(shown, list(range(SHEET))), COLUMNS).save(out / "contact-sheet.png", optimize=True)
    loss_curve(out / "loss.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
