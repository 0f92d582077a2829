"""The data of the regression check, for tests that cannot run Python: OUT/check.tsv and OUT/check.png.

    python check_data.py OUT

check.png holds every training emoji on white, averaged down to 16x16, 16 to a row, in the order of emoji.txt. check.tsv has a
line for each fixed prompt: its seed, the index of the emoji that is meant in check.png, and the prompt.
"""
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from config import BACKGROUNDS, SIZE
from captions import prompts
from data import all_rgba, emoji_list, on_background

THUMB, COLUMNS = 16, 16


def thumbs(pictures):
    """[N, SIZE, SIZE, 3] in 0..255 -> [N, THUMB, THUMB, 3] f32: each value the mean of its 8x8 pixels."""
    side = SIZE // THUMB
    return np.asarray(pictures, np.float32).reshape(-1, THUMB, side, THUMB, side, 3).mean((2, 4))


def references():
    """Every training emoji on white: [N, THUMB, THUMB, 3] u8"""
    return thumbs(on_background(all_rgba(), BACKGROUNDS["white"])).round().astype(np.uint8)


def main(out):
    own = references()
    rows = -(-len(own) // COLUMNS)
    image = np.full((rows * THUMB, COLUMNS * THUMB, 3), 255, np.uint8)
    for i, thumb in enumerate(own):
        y, x = i // COLUMNS * THUMB, i % COLUMNS * THUMB
        image[y:y + THUMB, x:x + THUMB] = thumb
    Image.fromarray(image).save(out / "check.png", optimize=True)
    names = [name for _, name in emoji_list()]
    lines = [f"# seed\tindex in check.png ({len(own)} emoji)\tprompt"]
    lines += [f"{seed}\t{names.index(name)}\t{prompt}" for seed, (name, prompt) in enumerate(prompts())]
    (out / "check.tsv").write_text("\n".join(lines) + "\n", encoding="utf8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
