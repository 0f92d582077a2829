"""Captions: what may be said of an emoji, drawn anew each time it is shown; and the small vocabulary they use.

The checkpoint carries CLIP's 49408 token embeddings, but the captions use about a thousand of them. Training holds only those
and one more, "unknown", that is shown now and then in the place of filler words; export gives its vector to every other token.
So a prompt may hold words the model never saw.
"""
import numpy as np
from transformers import CLIPTokenizer

from config import BACKGROUNDS, END, HERE, MERGES, START, TOKENS, VOCAB
from data import emoji_list, keywords

FORMS = ("a drawing of {a}", "a picture of {a}", "{n} emoji", "an emoji of {a}", "a cartoon of {a}")
ON = (" on a {c} background", ", {c} background", " on {c}")
DROP, BACKGROUND, FILLER = 0.1, 0.05, 0.1
FACE = " face"
CREATURES = {"monkey", "dog", "cat", "tiger", "horse", "cow", "pig", "rabbit", "clown"}     # 'dog face' is called a dog


def prompts():
    """[(emoji name, prompt)] of prompts.txt; a prompt's seed is its index."""
    lines = (HERE / "prompts.txt").read_text(encoding="utf8").splitlines()
    return [tuple(line.split("\t")) for line in lines if line and not line.startswith("#")]


def short(name):
    """'dog face' -> 'dog', but 'grinning face' stays."""
    stem = name.removesuffix(FACE)
    return stem if stem != name and stem.split()[-1] in CREATURES else name


def article(name):
    """'apple' -> 'an apple'; plurals and mass nouns stay bare."""
    last = name.split()[0].lower()
    if name.endswith("s") and not name.endswith(("ss", "cactus", "octopus", "bus", "moai")) or name in ("DNA", "sushi", "fire"):
        return name
    return ("an " if last[0] in "aeiou" and last != "unicorn" else "a ") + name


class Captions:
    """Draws captions and answers what tokens they use."""

    def __init__(self):
        words = keywords()
        self.names = [name for _, name in emoji_list()]
        self.keywords = [[k for k in words.get(c, []) if k != n] for c, n in emoji_list()]
        seen = [k for own in self.keywords for k in own] + [short(n) for n in self.names]
        self.unique = [[k for k in own if seen.count(k) == 1] for own in self.keywords]     # enough to tell the emoji alone

    def draw(self, index, rng):
        """(caption, background name) for emoji `index`. A caption without a background means white."""
        name, own = self.names[index], self.keywords[index]
        stem, pick = short(name), rng.random()
        if pick < 0.35:
            text = name
        elif pick < 0.55:
            text = article(stem)
        elif pick < 0.82:
            text = FORMS[rng.integers(len(FORMS))].format(a=article(stem), n=stem)
        elif pick < 0.93 and own:
            text = ", ".join([stem, *rng.permutation(own)[:2]])
        else:
            text = str(rng.choice(self.unique[index])) if self.unique[index] else stem
        background = "white"
        if rng.random() < BACKGROUND:
            background = list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
            text += ON[rng.integers(len(ON))].format(c=background)
        return text, background

    def everything(self):
        """Every string a caption may be made of, to collect the tokens."""
        for i, name in enumerate(self.names):
            yield from (name, short(name), article(short(name)), *self.keywords[i])
            yield from (f.format(a=article(short(name)), n=short(name)) + ", x" for f in FORMS)
        yield from ("x" + on.format(c=c) for on in ON for c in BACKGROUNDS)


def tokenizer():
    """CLIP's tokenizer, from the merges that the C library embeds: bytes, bytes that end a word, merges, start, end."""
    lines = MERGES.read_text(encoding="utf8").splitlines()[1:]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    bytes_ = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    pieces = bytes_ + [b + "</w>" for b in bytes_] + [line.replace(" ", "") for line in lines] + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[tuple(line.split(" ")) for line in lines])


class Vocabulary:
    """CLIP token ids <-> the rows that training holds: the used tokens in order, then one row for all others."""

    def __init__(self, strings):
        self.tokenizer = tokenizer()
        used = {START, END}
        for text in strings:
            used.update(self.tokenizer(text).input_ids)
        self.used = np.array(sorted(used))
        self.unknown = len(self.used)
        self.row = np.full(VOCAB, self.unknown)
        self.row[self.used] = np.arange(len(self.used))

    def __len__(self):
        return len(self.used) + 1

    def rows(self, text, rng=None):
        """Text -> [TOKENS] rows, padded with the end token as SD1.x does. With `rng`, sometimes filler words around it."""
        ids = [self.row[i] for i in self.tokenizer(text, truncation=True, max_length=TOKENS - 6).input_ids[1:-1]]
        if rng is not None and text and rng.random() < FILLER:
            before, after = rng.integers(0, 3, 2)
            ids = [self.unknown] * before + ids + [self.unknown] * after
        ids = [self.row[START], *ids, self.row[END]]
        return np.array(ids + [self.row[END]] * (TOKENS - len(ids)))
