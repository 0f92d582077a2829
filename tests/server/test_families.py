"""Pictures of each family of transformers, tiny, as A1111's clients ask for them."""
import json
import os
import subprocess
import tempfile
import unittest

from rig import Server

FOLDERS = ("flux1-dev", "flux1-schnell", "klein", "sd35", "z-image")
TOOL = os.environ.get("BALLAST_TEST_FAMILIES", "build/bin/ballast_families")


class Families(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="ballast-families-")
        for name in FOLDERS:
            os.mkdir(os.path.join(cls.folder.name, name))
        subprocess.run([TOOL, cls.folder.name], check=True)
        cls.server = Server(models=cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        cls.folder.cleanup()

    def ask(self, model, **more):
        r = self.server.post("/sdapi/v1/txt2img", dict(
            {"prompt": "a cat", "steps": 2, "width": 32, "height": 32, "sampler_name": "Euler", "seed": 1, "cfg_scale": 1,
             "override_settings": {"sd_model_checkpoint": model}}, **more))
        return r

    def text(self, model, **more):
        r = self.ask(model, **more)
        self.assertEqual(r.status, 200, (model, more, r.data[:300]))
        return json.loads(r.json["info"])["infotexts"][0]

    def test_what_clients_ask_for(self):
        for model in FOLDERS:
            with self.subTest(model):
                plain = self.text(model, distilled_cfg_scale=3)
                self.assertIn("Model: " + model, plain)
                self.assertEqual("Distilled CFG Scale: 3," in plain, model == "flux1-dev", plain)
                guided = self.text(model, negative_prompt="bad, and of another length", cfg_scale=2)
                self.assertIn("Negative prompt: bad", guided)
                hires = self.text(model, enable_hr=True, hr_scale=1.5, denoising_strength=0.6, hr_upscaler="Latent")
                self.assertIn("Hires upscale: 1.5", hires)
                several = self.ask(model, batch_size=2).json["images"]
                self.assertEqual(len(set(several)), 2)

    def test_sides_that_do_not_fit(self):
        for model in FOLDERS:
            r = self.ask(model, width=40)
            self.assertEqual(r.status, 422, model)
            self.assertIn("40 is not a positive multiple of 16", r.json["detail"][0]["msg"])


if __name__ == "__main__":
    unittest.main()
