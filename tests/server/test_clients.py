"""Clients as people install them, from PyPI: webuiapi and openai."""
import base64
import io
import threading
import time
import unittest

from rig import Case, need_clients, png

need_clients("webuiapi", "openai")
import openai  # noqa: E402
import webuiapi  # noqa: E402


class WebUI(Case):
    def setUp(self):
        self.api = webuiapi.WebUIApi(host=self.server.host, port=self.server.port)

    def test_lists_and_options(self):
        title = self.api.util_get_model_names()[0]
        self.api.util_set_model(title)
        self.api.util_wait_for_ready()
        self.assertEqual(self.api.util_get_current_model(), title)
        self.assertIn("Euler a", self.api.util_get_sampler_names())
        self.assertIn("karras", self.api.util_get_scheduler_names())
        options = self.api.get_options()
        self.api.set_options(options)
        for call in (self.api.get_cmd_flags, self.api.get_progress, self.api.get_samplers, self.api.get_sd_vae,
                     self.api.get_upscalers, self.api.get_latent_upscale_modes, self.api.get_loras, self.api.get_sd_models,
                     self.api.get_hypernetworks, self.api.get_face_restorers, self.api.get_realesrgan_models,
                     self.api.get_prompt_styles, self.api.get_embeddings, self.api.get_memory, self.api.refresh_checkpoints,
                     self.api.interrupt, self.api.skip):
            call()

    def test_pictures(self):
        made = self.api.txt2img(prompt="a panda", seed=7, steps=2, width=64, height=64, enable_hr=True, hr_scale=1.5,
                                hr_upscaler=webuiapi.HiResUpscaler.Latent, hr_second_pass_steps=1, denoising_strength=0.5)
        self.assertEqual(made.image.size, (96, 96))
        self.assertEqual(made.info["seed"], 7)
        again = self.api.img2img(images=[made.image], prompt="a tiger", steps=2, width=64, height=64, denoising_strength=0.6)
        self.assertEqual(again.image.size, (64, 64))
        info = self.api.png_info(made.image)
        self.assertIsInstance(info.info, str)
        large = self.api.extra_single_image(again.image, upscaler_1="Lanczos", upscaling_resize=2)
        self.assertEqual(large.image.size, (128, 128))

    def test_progress_and_interrupt(self):
        results = []
        t = threading.Thread(target=lambda: results.append(self.api.txt2img(prompt="x", steps=400, width=128, height=128)))
        t.start()
        for _ in range(100):
            if self.api.get_progress()["progress"] > 0.02:
                break
            time.sleep(0.05)
        self.assertGreater(self.api.get_progress()["progress"], 0)
        self.api.interrupt()
        t.join(60)
        self.assertEqual(len(results), 1)
        self.api.util_wait_for_ready()


class OpenAI(Case):
    def setUp(self):
        self.client = openai.OpenAI(base_url="http://%s:%d/v1" % (self.server.host, self.server.port), api_key="none")

    def test_generate_edit_stream(self):
        model = self.client.models.list().data[0].id
        extra = {"steps": 2, "seed": 3}
        made = self.client.images.generate(model=model, prompt="a panda", size="64x64", n=2, extra_body=extra)
        self.assertEqual(len(made.data), 2)
        data = base64.b64decode(made.data[0].b64_json)
        self.assertEqual(data[:4], b"\x89PNG")
        edited = self.client.images.edit(image=("a.png", io.BytesIO(data), "image/png"), prompt="a tiger", size="64x64",
                                         extra_body={"steps": "2"})
        self.assertTrue(edited.data[0].b64_json)
        stream = self.client.images.generate(model="gpt-image-1", prompt="a panda", size="128x128", stream=True,
                                             partial_images=1, extra_body={"steps": 20})
        kinds = [event.type for event in stream]
        self.assertEqual(kinds, ["image_generation.partial_image", "image_generation.completed"])

    def test_errors(self):
        with self.assertRaises(openai.BadRequestError) as e:
            self.client.images.generate(prompt="x", size="banana")
        self.assertIn("size", str(e.exception))
        with self.assertRaises(openai.BadRequestError):
            self.client.images.edit(image=png(8, 8), mask=png(8, 8), prompt="x")


if __name__ == "__main__":
    unittest.main()
