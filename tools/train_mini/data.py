"""The pictures: colour bitmaps of Noto Color Emoji (128x128) on plain backgrounds, and the names that go with them."""
import io
import re
from xml.etree import ElementTree

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image

from config import BACKGROUNDS, CLDR, FONT, HERE, SIZE


def emoji_list():
    """[(characters, name)] of emoji.txt, in its order, which is the order of everything that is indexed by emoji."""
    rows = []
    for line in (HERE / "emoji.txt").read_text(encoding="utf8").splitlines():
        if line and not line.startswith("#"):
            points, name = line.split("\t")
            rows.append(("".join(chr(int(p, 16)) for p in points.split()), name))
    return rows


def keywords():
    """{characters: [keyword]} from CLDR's English annotations, without the short name itself."""
    out = {}
    for folder in ("annotations", "annotationsDerived"):
        for node in ElementTree.parse(CLDR / folder / "en.xml").iter("annotation"):
            if node.get("type") != "tts":
                out[node.get("cp").replace("\ufe0f", "")] = [k.strip() for k in re.split(r"\|", node.text)]
    return out


class Font:
    """Reads the PNG of one emoji out of the font's CBDT table; sequences are resolved through GSUB ligatures."""

    def __init__(self):
        font = TTFont(FONT)
        self.cmap = font.getBestCmap()
        self.bitmaps = font["CBDT"].strikeData[0]
        self.ligatures = {}
        for lookup in font["GSUB"].table.LookupList.Lookup:
            for sub in lookup.SubTable:
                sub = getattr(sub, "ExtSubTable", sub)
                for first, ligatures in getattr(sub, "ligatures", {}).items():
                    for lig in ligatures:
                        self.ligatures[(first, *lig.Component)] = lig.LigGlyph

    def rgba(self, characters):
        """One emoji as [SIZE, SIZE, 4] u8. The font's bitmaps are 136x128: 4 empty columns each side are cut."""
        glyphs = tuple(self.cmap[ord(c)] for c in characters)
        glyph = glyphs[0] if len(glyphs) == 1 else self.ligatures[glyphs]
        image = Image.open(io.BytesIO(self.bitmaps[glyph].imageData)).convert("RGBA")
        left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
        return np.asarray(image.crop((left, top, left + SIZE, top + SIZE)))


def all_rgba():
    """Every emoji of the list: [N, SIZE, SIZE, 4] u8."""
    font = Font()
    return np.stack([font.rgba(characters) for characters, _ in emoji_list()])


def enlarged(rgba, side):
    """[N, S, S, 4] u8 -> [N, side, side, 4] u8; colours are weighted by alpha, so that edges stay clean"""
    images = (Image.fromarray(one).convert("RGBa").resize((side, side), Image.Resampling.LANCZOS).convert("RGBA") for one in rgba)
    return np.stack([np.asarray(image) for image in images])


def on_background(rgba, colour):
    """Alpha over a plain colour: [..., 4] u8 -> [..., 3] f32 in 0..255."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return rgba[..., :3] * alpha + np.asarray(colour, np.float32) * (1 - alpha)


def pictures(rgba, background):
    """[N, S, S, 4] u8 on a named background -> [N, 3, S, S] f32 in -1..1."""
    rgb = on_background(rgba, BACKGROUNDS[background])
    return np.ascontiguousarray(rgb.transpose(0, 3, 1, 2) / 127.5 - 1, np.float32)
