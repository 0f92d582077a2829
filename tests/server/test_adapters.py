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
        "__metadata__": {"ss_output_name": "the style",
                         "ss_tag_frequency": json.dumps({"10_style": {"oil painting": 30, "brush strokes": 12}})},
        prefix + ".lora_up.weight": {"dtype": "F32", "shape": [out, 1], "data_offsets": [0, len(up)]},
        prefix + ".lora_down.weight": {"dtype": "F32", "shape": [1, wide], "data_offsets": [len(up), len(up) + len(down)]}})
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header.encode() + up + down)


def write_embedding(path, vectors=2, width=96):
    with open(path, "wb") as f:
        header = json.dumps({"emb_params": {"dtype": "F32", "shape": [vectors, width], "data_offsets": [0, 4 * vectors * width]}})
        f.write(struct.pack("<Q", len(header)) + header.encode() + struct.pack("<f", 0.1) * (vectors * width))


class Adapters(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.words = tempfile.TemporaryDirectory()
        write_embedding(os.path.join(cls.words.name, "calm.safetensors"))
        write_lora(os.path.join(cls.words.name, "none.safetensors"), os.path.join(rig.MODELS, "ballast-mini.safetensors"))
        write_lora(os.path.join(cls.folder.name, "style.safetensors"), os.path.join(rig.MODELS, "ballast-mini.safetensors"))
        cls.server = rig.Server("--lora-dir", cls.folder.name, "--embedding-dir", cls.words.name)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        cls.folder.cleanup()
        cls.words.cleanup()

    def make(self, prompt):
        return self.ok(self.server.post(SD + "txt2img", dict(SMALL, prompt=prompt)))

    def test_list(self):
        self.assertEqual([(x["name"], x["alias"], x["metadata"]) for x in self.ok(self.server.get(SD + "loras"))],
                         [("style", "the style", {})])

    def test_embeddings(self):
        listed = self.ok(self.server.get(SD + "embeddings"))
        self.assertEqual(listed["skipped"], {})
        self.assertEqual((listed["loaded"]["calm"]["vectors"], listed["loaded"]["calm"]["shape"]), (2, 96))
        own = self.ok(self.server.get("/ballast/v1/lists"))["embeddings"]
        self.assertEqual(own, [{"name": "calm", "vectors": 2, "width": 96, "family": "another family"}])

    def test_words_of_an_adapter(self):
        for name in ("style", "the%20style"):
            words = self.ok(self.server.get("/ballast/v1/adapter?name=" + name))
            self.assertEqual(words["trigger_words"], ["oil painting", "brush strokes"])
            self.assertNotIn(self.folder.name, json.dumps(words))
        self.assertEqual(self.server.get("/ballast/v1/adapter?name=nowhere").status, 404)
        for bad in ("", "?name="):
            self.refused(self.server.get("/ballast/v1/adapter" + bad), "name")
        with open(os.path.join(self.folder.name, "torn.safetensors"), "wb") as f:
            f.write(b"nothing")
        try:
            told = self.refused(self.server.get("/ballast/v1/adapter?name=torn"), "name")
        finally:
            os.unlink(f.name)
        self.assertNotIn(self.folder.name, told)

    def test_the_list_of_tags(self):
        url, path = "/ballast/v1/tags", os.path.join(self.server.data, "tags.txt")
        self.assertEqual((self.server.get(url).status, self.server.get(url).data), (200, b""))
        with open(path, "w") as f:
            f.write("long hair\n")
        first = self.server.get(url)
        self.assertEqual(first.data, b"long hair\n")
        self.assertEqual(self.server.get(url, headers={"If-None-Match": first.headers["ETag"]}).status, 304)
        with open(os.path.join(self.server.data, "tags.csv"), "w") as f:
            f.write("1girl,0,4,\"girl\"\n")
        self.assertEqual(self.server.get(url, headers={"If-None-Match": first.headers["ETag"]}).data, b"1girl,0,4,\"girl\"\n")

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
