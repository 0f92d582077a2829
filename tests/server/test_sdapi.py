"""/sdapi/v1 as the clients that exist need it."""
import contextlib
import http.client
import json
import threading
import time
import unittest
import urllib.parse

from rig import SMALL, Case, Server, b64, picture, pixels, png, png_size

SD = "/sdapi/v1/"
LISTS = ["sd-models", "samplers", "schedulers", "upscalers", "latent-upscale-modes", "sd-vae", "loras", "hypernetworks",
         "face-restorers", "prompt-styles", "realesrgan-models", "script-info"]


class Behaviours(Case):
    def small(self, **more):
        return self.server.post(SD + "txt2img", dict(SMALL, **more))

    def test_answers_of_commands_are_json(self):
        for path in ("interrupt", "skip", "refresh-checkpoints", "unload-checkpoint", "reload-checkpoint"):
            for raw in (None, b'""', b"{}", b"not json"):
                r = self.server.post(SD + path, raw=raw)
                self.assertEqual((r.status, r.headers["Content-Type"]), (200, "application/json"), path)
                r.json
        self.assertIsNone(self.ok(self.server.post(SD + "options", {"whatever": 3})))

    def test_info_is_text_that_holds_json(self):
        body = self.ok(self.small(batch_size=2, seed=41))
        info = json.loads(body["info"])
        self.assertEqual(info["seed"], 41)
        self.assertEqual(info["all_seeds"], [41, 42])
        self.assertEqual(len(info["all_subseeds"]), 2)
        self.assertEqual((info["negative_prompt"], info["all_negative_prompts"]), ("", ["", ""]))
        self.assertEqual(info["sd_model_name"], "ballast-mini")
        self.assertEqual((info["width"], info["height"]), (64, 64))
        self.assertRegex(info["infotexts"][1], r"(?s)a panda\nSteps: 2, .*Seed: 42, Size: 64x64")
        self.assertEqual([png_size(picture(i)) for i in body["images"]], [(64, 64)] * 2)
        self.assertEqual((body["parameters"]["batch_size"], body["parameters"]["n_iter"]), (2, 1))
        self.assertIs(body["parameters"]["save_images"], False)
        ours = body["ballast"]
        self.assertRegex(ours["line"], r"^Time: .* \| first load [\d.]+ swap [\d.]+ steady [\d.]+ \|")
        self.assertGreater(ours["timings"]["steady_seconds"], 0)
        self.assertEqual(ours["state"], "done")
        self.assertTrue(ours["plan"]["phases"] and ours["timings"]["stages"])

    def test_types_are_lenient(self):
        for odd in ({"steps": "2"}, {"steps": 2.0}, {"cfg_scale": "7.5"}, {"seed": "12"}, {"seed": ""}, {"eta": None},
                    {"denoising_strength": None, "hr_checkpoint_name": None, "script_name": None}, {"styles": ["None"]},
                    {"hr_scale": "1.0", "hr_upscaler": "ESRGAN_4x", "enable_hr": False}, {"enable_hr": "false"},
                    {"override_settings": {"CLIP_stop_at_last_layers": 1.0, "unknown": 20.0}}, {"send_images": 1},
                    {"alwayson_scripts": {"ControlNet": {"args": [{"enabled": False}]}, "x": {"args": []}}},
                    {"seed_resize_from_w": 0, "s_noise": 1.0, "s_tmax": None, "refiner_checkpoint": ""},
                    {"tiling": "false", "s_churn": "0", "s_noise": "1.0", "seed_resize_from_h": "-1"}):
            r = self.small(**odd)
            self.assertEqual(r.status, 200, (odd, r.data[:300]))
        self.assertEqual(self.ok(self.small(restore_faces="no"))["ballast"]["warnings"], [])
        marked = b"\xef\xbb\xbf" + json.dumps(SMALL).encode()
        self.assertEqual(self.server.post(SD + "txt2img", raw=marked).status, 200)

    def test_what_cannot_be_read_names_its_field(self):
        for field, value in (("steps", "many"), ("steps", 2.5), ("steps", 0), ("steps", -1), ("cfg_scale", "x"),
                             ("width", 1e9), ("seed", 1.5), ("prompt", ["a"]), ("enable_hr", "perhaps"), ("batch_size", 65),
                             ("prompt", "x" * (1 << 20)), ("override_settings", 3), ("styles", "a")):
            self.refused(self.small(**{field: value}), field)
        for raw in (b"", b"{", b'{"steps": NaN}', b'{"steps": 1e309}', b"[1]", b'"x"', b"\xff\xfe", b'{"prompt": "\x00"}'):
            self.assertEqual(self.server.post(SD + "txt2img", raw=raw).status, 422, raw)
        self.refused(self.server.post(SD + "txt2img", raw=b'{"cfg_scale": 1e308}'), "cfg_scale")

    def test_what_is_quoted_may_be_cut_within_a_character(self):
        for lead in ("", "a", "ab", "abc"):
            text = lead + "\U0001f43c" * 100
            self.refused(self.small(steps=text), "steps")
            self.refused(self.small(enable_hr=True, hr_upscaler=text), "hr_upscaler")
            self.assertEqual(self.small(override_settings={"sd_model_checkpoint": text}).status, 404)
            error = self.server.post("/v1/images/generations", {"prompt": "a", "steps": text})
            self.assertEqual((error.status, error.json["error"]["param"]), (400, "steps"))
            self.assertEqual(self.server.post("/v1/images/generations", {"prompt": "a", "size": text[:30]}).status, 400)
            path = urllib.parse.quote(text[:15])
            self.assertEqual(self.server.get("/ballast/v1/jobs/" + path).status, 404)
            self.assertEqual(self.server.ask("DELETE", "/ballast/v1/jobs/" + path).status, 404)
        self.assertEqual(self.server.ask("DELETE", "/ballast/v1/jobs/%ff%fe").status, 404)

    def test_what_would_be_silently_different_is_refused(self):
        for field, value in (("tiling", True), ("mask", b64(png(8, 8))), ("script_name", "x/y/z plot"), ("s_churn", 4),
                             ("refiner_checkpoint", "sd_xl_refiner"), ("s_noise", 0), ("s_noise", "0.5"), ("tiling", "true"),
                             ("seed_resize_from_h", 512), ("firstphase_width", 64),
                             ("alwayson_scripts", {"ControlNet": {"args": [{"enabled": True, "module": "canny"}]}}),
                             ("alwayson_scripts", {"ADetailer": {"args": [True]}})):
            self.assertTrue(self.refused(self.small(**{field: value}), field))
        self.refused(self.small(enable_hr=True, hr_prompt="another"), "hr_prompt")
        self.refused(self.small(tiled_decode="perhaps"), "tiled_decode")
        self.refused(self.small(decode="perhaps"), "decode")
        self.refused(self.small(decode="taesd"), "decode")  # there is none
        self.refused(self.small(override_settings={"sd_vae_decode_method": "Half"}), "sd_vae_decode_method")
        self.refused(self.server.post(SD + "options", {"sd_vae_decode_method": "Half"}), "sd_vae_decode_method")
        self.refused(self.small(override_settings={"sd_vae_decode_method": "TAESD"}), "sd_vae_decode_method")  # likewise
        self.refused(self.server.post(SD + "options", {"sd_vae_decode_method": "TAESD"}), "sd_vae_decode_method")
        self.refused(self.small(enable_hr=True, hr_upscaler="ESRGAN_4x"), "hr_upscaler")

    def test_what_is_done_without_is_said(self):
        plain = self.ok(self.small())
        self.assertEqual(plain["ballast"]["warnings"], [])
        lora = self.ok(self.small(prompt="a panda<lora:absent:0.8>", restore_faces=True))
        self.assertEqual(pixels(picture(lora["images"][0])), pixels(picture(plain["images"][0])))
        said = " ".join(lora["ballast"]["warnings"])
        self.assertRegex(said, "restore_faces")
        self.assertRegex(said, "lora")

    def test_samplers_by_all_their_names(self):
        for names in ({"sampler_index": "DPM++ 2M Karras"}, {"sampler_name": "DPM++ 2M", "scheduler": "automatic"},
                      {"sampler_name": "k_euler_a"}, {"sampler_name": "DPM++ 2M", "scheduler": "Karras"},
                      {"sampler_name": "DPM++ 2M", "scheduler": "karras"}, {"sampler_name": None, "sampler_index": "Euler a"},
                      {"sampler_name": "DPM++ 2M Karras", "scheduler": "exponential"}):
            r = self.small(**names)
            self.assertEqual(r.status, 200, (names, r.data[:300]))
        r = self.small(sampler_name="Nope")
        self.assertEqual((r.status, r.json), (404, {"detail": "Sampler not found"}))
        self.assertRegex(json.loads(self.ok(self.small(sampler_index="DPM++ 2M Karras"))["info"])["infotexts"][0],
                         "Sampler: DPM\\+\\+ 2M, Schedule type: Karras")

    def test_options_and_models(self):
        models = self.ok(self.server.get(SD + "sd-models"))
        title = models[0]["title"]
        options = self.ok(self.server.get(SD + "options"))
        self.assertEqual(options["sd_model_checkpoint"], title)
        for key in ("sd_vae", "samples_format", "sd_vae_decode_method", "CLIP_stop_at_last_layers"):
            self.assertIn(key, options)
        self.ok(self.server.post(SD + "options", options))
        self.assertEqual(self.ok(self.server.get(SD + "options")), options)
        for name in (title, title[:-12], models[0]["model_name"], title + " [0123456789]", title.upper(), models[0]["filename"]):
            self.ok(self.server.post(SD + "options", {"sd_model_checkpoint": name}))
            self.assertEqual(self.ok(self.server.get(SD + "options"))["sd_model_checkpoint"], title)
            self.ok(self.small(override_settings={"sd_model_checkpoint": name}))
        for r in (self.server.post(SD + "options", {"sd_model_checkpoint": "ballst-mini"}),
                  self.small(override_settings={"sd_model_checkpoint": "ballst-mini"})):
            self.assertEqual(r.status, 404)
            self.assertIn(title, r.json["detail"])
        self.ok(self.server.post(SD + "options", {"CLIP_stop_at_last_layers": 2}))
        try:
            self.assertEqual(self.ok(self.server.get(SD + "options"))["CLIP_stop_at_last_layers"], 2)
            self.assertIn("Clip skip: 2", self.ok(self.small())["info"])
        finally:
            self.ok(self.server.post(SD + "options", {"CLIP_stop_at_last_layers": 1}))

    def test_form_of_pictures(self):
        """As A1111's samples_format has it; what is kept stays PNG."""
        want = self.ok(self.small(override_settings={"samples_format": "PNG"}))["images"][0]
        for word, begins in (("jpg", b"\xff\xd8\xff"), ("webp", b"RIFF")):
            self.assertEqual(self.server.post(SD + "options", {"samples_format": word}).status, 200)
            self.assertEqual(self.server.get(SD + "options").json["samples_format"], word)
            got = self.ok(self.small())["images"][0]
            self.assertEqual(picture(got)[:len(begins)], begins)
            self.assertIn("Steps: 2", self.ok(self.server.post(SD + "png-info", {"image": got}))["info"])
            self.assertEqual(self.ok(self.small(override_settings={"samples_format": "png"}))["images"][0], want)
        self.refused(self.server.post(SD + "options", {"samples_format": "gif"}), "samples_format")
        self.refused(self.small(override_settings={"samples_format": "gif"}), "samples_format")
        self.assertEqual(self.server.post(SD + "options", {"samples_format": "png"}).status, 200)

    def test_settings_of_noise_and_padding(self):
        def made(**more):
            body = self.ok(self.small(prompt="a red panda in the snow, " * 12, negative_prompt="blurry",
                                      sampler_name="Euler a", **more))
            return pixels(picture(body["images"][0])), json.loads(body["info"])["infotexts"][0]
        plain, text = made()
        self.assertNotRegex(text, "ENSD|Pad conds")
        for key, value, said in (("eta_noise_seed_delta", 31337, "ENSD: 31337"), ("pad_cond_uncond", True, "Pad conds: True")):
            other, text = made(override_settings={key: value})
            self.assertIn(said, text)
            self.assertTrue(other != plain, key)
            self.ok(self.server.post(SD + "options", {key: value}))
            try:
                self.assertEqual(self.ok(self.server.get(SD + "options"))[key], value)
                self.assertTrue(made()[0] == other)
                self.assertTrue(made(override_settings={key: 0})[0] == plain)
            finally:
                self.ok(self.server.post(SD + "options", {key: 0}))
        self.refused(self.server.post(SD + "options", {"eta_noise_seed_delta": -1}), "eta_noise_seed_delta")

    def test_settings_that_name_what_there_is_not(self):
        before = self.ok(self.server.get(SD + "options"))
        for key, value, status in (("sd_vae", "nowhere", 404), ("randn_source", "TPU", 422)):
            self.assertEqual(self.server.post(SD + "options", {key: value}).status, status)
            self.assertEqual(self.small(override_settings={key: value}).status, status)
        self.assertEqual(self.ok(self.server.get(SD + "options")), before)
        for value in ("None", "Automatic", "automatic", ""):
            self.ok(self.small(override_settings={"sd_vae": value}))
        card = [self.ok(self.small(override_settings={"randn_source": source}))["images"][0] for source in ("GPU", "NV", "CPU")]
        self.assertTrue(card[0] == card[1] != card[2])

    def test_lists_are_there(self):
        for path in LISTS:
            r = self.server.get(SD + path)
            self.assertIsInstance(self.ok(r), list, path)
        self.assertEqual(self.ok(self.server.get(SD + "upscalers"))[0]["name"], "None")
        self.assertIn("Lanczos", [u["name"] for u in self.ok(self.server.get(SD + "upscalers"))])
        self.assertEqual(self.ok(self.server.get(SD + "embeddings")), {"loaded": {}, "skipped": {}})
        self.assertEqual(self.ok(self.server.get(SD + "scripts")), {"txt2img": [], "img2img": []})
        self.assertLessEqual(len(self.ok(self.server.get(SD + "cmd-flags"))), 20)
        self.assertIn("ram", self.ok(self.server.get(SD + "memory")))
        self.assertIn("queue_size", self.ok(self.server.get("/queue/status")))
        self.assertIsInstance(self.ok(self.server.get("/config")), dict)
        self.assertIn(self.server.ask("HEAD", "/").status, (200, 302))
        for path in ("/nowhere", SD + "nowhere", SD + "sd-modules"):
            r = self.server.get(path)
            self.assertEqual((r.status, r.json), (404, {"detail": "Not Found"}))
        self.assertEqual(self.server.get(SD + "txt2img").status, 405)
        self.assertIn(self.server.post(SD + "interrogate", {"image": ""}).status, (404, 501))

    def test_odd_forms(self):
        for path in ("//sdapi/v1/options", "/sdapi//v1/options/", "/sdapi/v1/options?"):
            self.ok(self.server.get(path))
        self.ok(self.server.get(SD + "progress", raw=b"{}"))
        for value in ("Basic ", "Basic dW5kZWZpbmVk", "nonsense", "Bearer none"):
            self.ok(self.server.get(SD + "options", headers={"Authorization": value}))
        self.ok(self.server.post(SD + "txt2img", raw=json.dumps(SMALL).encode()))  # no Content-Type
        self.ok(self.server.post(SD + "txt2img", raw=json.dumps(SMALL).encode(), headers={"Content-Type": "text/plain"}))

    def test_progress_when_idle(self):
        body = self.ok(self.server.get(SD + "progress"))
        self.assertEqual(body["progress"], 0.0)
        self.assertEqual(body["state"]["job_count"], 0)
        self.assertEqual(body["state"]["job"], "")
        self.assertIsNone(body["current_image"])
        for key in ("skipped", "interrupted", "stopping_generation", "job_timestamp", "job_no", "sampling_step",
                    "sampling_steps"):
            self.assertIn(key, body["state"])

    def test_progress_and_interrupt(self):
        replies = []
        t = threading.Thread(target=lambda: replies.append(self.small(steps=400, width=128, height=128)))
        t.start()
        seen = None
        for _ in range(200):
            seen = self.ok(self.server.get(SD + "progress"))
            if seen["progress"] > 0.02 and seen["current_image"]:
                break
            time.sleep(0.02)
        self.assertTrue(0 < seen["progress"] < 1)
        self.assertEqual(seen["state"]["sampling_steps"], 400)
        png_size(picture(seen["current_image"]))
        self.assertIsNone(self.ok(self.server.get(SD + "progress?skip_current_image=true"))["current_image"])
        self.ok(self.server.post(SD + "interrupt"))
        t.join(30)
        body = self.ok(replies[0])
        self.assertEqual([png_size(picture(i)) for i in body["images"]], [(128, 128)])  # as far as it had come
        self.assertIn("interrupted", " ".join(body["ballast"]["warnings"]))
        self.assertEqual(self.ok(self.server.get(SD + "progress"))["progress"], 0)

    def test_image_to_image(self):
        for data in (b64(png(64, 64)), "data:image/png;base64," + b64(png(64, 64))):
            body = self.ok(self.server.post(SD + "img2img", dict(SMALL, init_images=[data], denoising_strength=0.6)))
            self.assertIn("Denoising strength: 0.6", body["info"])
            self.assertIsNone(body["parameters"]["init_images"])
        for bad in ([], [""], ["$$$"], [b64(b"no picture")], [b64(png(64, 64)[:60])], None, ["http://127.0.0.1/x.png"], [5]):
            self.refused(self.server.post(SD + "img2img", dict(SMALL, init_images=bad)), "init_images")

    def from_picture(self, *starts, **more):
        return self.server.post(SD + "img2img", dict(SMALL, init_images=[b64(s) for s in starts], denoising_strength=0.5, **more))

    def test_what_the_library_refuses_names_its_field(self):
        start = {"init_images": [b64(png(64, 64))], "denoising_strength": 0}
        self.refused(self.server.post(SD + "img2img", dict(SMALL, **start)), "denoising_strength")

    def test_a_start_picture_of_another_shape(self):
        wide = png(64, 32, (250, 20, 20), (20, 20, 250))
        made = [pixels(picture(self.ok(self.from_picture(wide, resize_mode=mode))["images"][0])) for mode in (0, 1, 2)]
        self.assertTrue(made[0] != made[1] and made[1] != made[2] and made[0] != made[2])
        # Cropped is what the middle of it makes; the other two have all of it.
        square = png(32, 32, (250, 20, 20), (20, 20, 250))
        self.assertTrue(pixels(picture(self.ok(self.from_picture(square, resize_mode=1))["images"][0])) == made[1])
        self.refused(self.from_picture(wide, resize_mode=3), "resize_mode")

    def test_several_start_pictures_are_a_batch(self):
        red, blue = png(64, 64, (250, 20, 20)), png(64, 64, (20, 20, 250))
        body = self.ok(self.from_picture(red, blue, batch_size=2, n_iter=2))
        self.assertEqual(json.loads(body["info"])["all_seeds"], [1, 2, 3, 4])
        for number, start in enumerate((red, blue, red, blue)):
            alone = self.ok(self.from_picture(start, seed=1 + number))
            self.assertTrue(pixels(picture(alone["images"][0])) == pixels(picture(body["images"][number])), number)
        self.assertEqual(len(self.ok(self.from_picture(red, blue, batch_size=3))["images"]), 2)  # as A1111 has it
        self.assertIn("batch_size: 2", self.refused(self.from_picture(red, blue), "init_images"))
        self.refused(self.from_picture(red, b"nothing", batch_size=2), "init_images")

    def test_hires(self):
        body = self.ok(self.small(enable_hr=True, hr_scale=2, hr_upscaler="Lanczos", hr_second_pass_steps=1,
                                  denoising_strength=0.5))
        self.assertEqual(png_size(picture(body["images"][0])), (128, 128))
        body = self.ok(self.small(enable_hr=True, hr_resize_x=96, hr_resize_y=96, hr_second_pass_steps=1))
        self.assertEqual(png_size(picture(body["images"][0])), (96, 96))

    def test_pictures_without_a_model(self):
        made = self.ok(self.small())
        info = self.ok(self.server.post(SD + "png-info", {"image": "data:image/png;base64," + made["images"][0]}))
        self.assertEqual(info["info"], json.loads(made["info"])["infotexts"][0])
        self.assertEqual(self.ok(self.server.post(SD + "png-info", {"image": b64(png(8, 8))}))["info"], "")
        self.refused(self.server.post(SD + "png-info", {"image": "x"}), "image")
        body = {"image": b64(png(32, 16)), "upscaling_resize": 2, "upscaler_1": "Lanczos"}
        large = self.ok(self.server.post(SD + "extra-single-image", body))
        self.assertEqual(png_size(picture(large["image"])), (64, 32))
        several = {"imageList": [{"data": b64(png(8, 8)), "name": "a"}] * 2, "upscaling_resize": 4, "upscaler_1": "Nearest"}
        self.assertEqual([png_size(picture(i)) for i in
                          self.ok(self.server.post(SD + "extra-batch-images", several))["images"]], [(32, 32)] * 2)
        self.refused(self.server.post(SD + "extra-single-image", dict(body, upscaling_resize=100)), "upscaling_resize")


class Keepalive(Case):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--keepalive", "1", gated=True)

    def test_blanks_come_before_the_answer(self):
        self.server.close_gate(0, 1)  # how long a picture takes has no say in it
        with contextlib.closing(http.client.HTTPConnection(self.server.host, self.server.port, timeout=120)) as c:
            c.request("POST", "/sdapi/v1/txt2img", json.dumps(SMALL), {"Content-Type": "application/json"})
            r = c.getresponse()
            self.assertEqual((r.status, r.read(2)), (200, b"  "))
            self.server.open_gate()
            answer = json.loads(r.read())
        self.assertEqual(len(answer["images"]), 1)


if __name__ == "__main__":
    unittest.main()
