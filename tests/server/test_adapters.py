"""Adapters that tags in prompts name: listed, used, and what each API says where there is none."""
import json
import os
import struct
import tempfile
import unittest

import rig
from rig import SMALL, Case, picture, pixels

SD = "/sdapi/v1/"
LAYER = "middle_block.1.transformer_blocks.0.attn2.to_q"


def shape_of(model, name):
    with open(model, "rb") as f:
        return json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))[name]["shape"]


def write_lora(path, model):
    """A LoRA of rank 1 on one layer of the embedded model."""
    out, wide = shape_of(model, "model.diffusion_model." + LAYER + ".weight")
    prefix = "lora_unet_" + LAYER.replace(".", "_")
    up = struct.pack("<%df" % out, *[3.0 if i % 2 else -3.0 for i in range(out)])
    down = struct.pack("<%df" % wide, *[1.0 if i % 3 else -2.0 for i in range(wide)])
    header = json.dumps({
        "__metadata__": {"ss_output_name": "the style"},
        prefix + ".lora_up.weight": {"dtype": "F32", "shape": [out, 1], "data_offsets": [0, len(up)]},
        prefix + ".lora_down.weight": {"dtype": "F32", "shape": [1, wide], "data_offsets": [len(up), len(up) + len(down)]}})
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header.encode() + up + down)


class Adapters(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        write_lora(os.path.join(cls.folder.name, "style.safetensors"), os.path.join(rig.MODELS, "ballast-mini.safetensors"))
        cls.server = rig.Server("--lora-dir", cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        cls.folder.cleanup()

    def make(self, prompt):
        return self.ok(self.server.post(SD + "txt2img", dict(SMALL, prompt=prompt)))

    def test_list(self):
        self.assertEqual([(x["name"], x["alias"], x["metadata"]) for x in self.ok(self.server.get(SD + "loras"))],
                         [("style", "the style", {})])

    def test_tags(self):
        plain, styled = self.make("a panda"), self.make("a panda<lora:style:0.9>")
        alias, none = self.make("a panda<lora:the style:0.9>"), self.make("a panda<lora:style:0>")
        self.assertNotEqual(pixels(picture(plain["images"][0])), pixels(picture(styled["images"][0])))
        self.assertEqual(pixels(picture(alias["images"][0])), pixels(picture(styled["images"][0])))
        self.assertEqual(pixels(picture(none["images"][0])), pixels(picture(plain["images"][0])))
        self.assertRegex(json.loads(styled["info"])["infotexts"][0], r'Lora hashes: "style: [0-9a-f]{12}"')

    def test_a_name_that_is_not_there(self):
        left = self.make("a panda<lora:stile>")
        self.assertRegex(" ".join(left["ballast"]["warnings"]), "no adapter .*stile.*nearest.*style.*without it")
        r = self.server.post("/v1/images/generations", {"prompt": "a panda<lora:stile>", "size": "64x64", "steps": 2})
        self.assertEqual(r.status, 400, r.data[:300])
        self.assertRegex(r.json["error"]["message"], "no adapter .*stile.*nearest.*style")


if __name__ == "__main__":
    unittest.main()
