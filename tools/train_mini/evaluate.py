"""For how many of the fixed prompts is the generated picture nearest to the emoji that was meant?

    python evaluate.py [PICTURES.png]

Distance: squared difference of 16x16 thumbnails (check_data.py), the same sum that the C test takes. Seeds: the prompts' numbers.
"""
import sys

import numpy as np
import torch

from check_data import references, thumbs
from config import THREADS
from captions import prompts
from data import emoji_list
from sample import Sampler, sheet


def main():
    torch.set_num_threads(THREADS)
    wanted, names = prompts(), [name for _, name in emoji_list()]
    pictures = Sampler().pictures([p for _, p in wanted], list(range(len(wanted))))
    distance = ((thumbs(pictures)[:, None] - references().astype(np.float32)[None]) ** 2).mean((2, 3, 4))
    nearest = distance.argmin(1)
    right = 0
    for i, (name, prompt) in enumerate(wanted):
        good = names[nearest[i]] == name
        right += good
        if not good:
            print(f"  {prompt!r}: nearest is {names[nearest[i]]}")
    print(f"evaluate: {right} of {len(wanted)} nearest to the emoji meant; mean distance to it "
          f"{np.mean([distance[i, names.index(n)] for i, (n, _) in enumerate(wanted)]):.0f}")
    if len(sys.argv) > 1:
        sheet(pictures, 10).save(sys.argv[1])


if __name__ == "__main__":
    main()
