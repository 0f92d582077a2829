"""Everything that is a choice: sizes, palette, seeds and places. The other files only read it."""
import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
WORK = Path(os.environ.get("BALLAST_TRAIN", Path.home() / ".cache/ballast-train"))     # data and checkpoints, outside the repository

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")       # Debian: fonts-noto-color-emoji
CLDR = Path("/usr/share/unicode/cldr/common")                          # Debian: unicode-cldr-core
MERGES = REPO / "src/text/clip_merges.txt"                              # CLIP's BPE merges, as the C library embeds them

SEED = 20240
WORKERS = int(os.environ.get("BALLAST_WORKERS", "1"))        # processes that share one training's batches (UNet only)
THREADS = int(os.environ.get("BALLAST_THREADS", "2"))        # threads of each

SIZE = 128                              # pixels a side; the latent is SIZE / 8
LATENT = SIZE // 8
LARGE = 192                             # what a second pass at 1.5 times the size works on: some of the UNet's steps are this large
VAE_SCALE = 0.18215                     # what a loader of SD1.x files assumes; export folds the rest into the quant convs

VAE_CHANNELS = (64, 64, 64, 96)       # 32 at the top would be one channel a group: the last norm would erase the plain colour
UNET_CHANNELS = (64, 64, 96, 128)       # multiples of 32, because of the 32 groups
TEXT_WIDTH = 64
TEXT_LAYERS = 3
TEXT_HEADS = 1                          # the loader's rule: width / 64 where that is whole
VOCAB = 49408
TOKENS = 77
START, END = 49406, 49407

# Backgrounds by the name a caption uses. White is said by no word: it is what a prompt without a background gives.
BACKGROUNDS = {
    "white": (255, 255, 255), "pink": (255, 190, 205), "yellow": (255, 232, 120), "green": (150, 222, 150),
    "blue": (130, 190, 255), "black": (20, 20, 20),
}
