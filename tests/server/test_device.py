"""What a request would cost, what lies where, how weights are placed, and what has been done: asked of a server that
has nothing to do and of one that is at work."""
import os
import re
import time
import unittest

from rig import PROGRAM, SMALL, Case, Server, b64, png

V1 = "/ballast/v1/"
SHARE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../share/devices")


class Device(Case):
    def setUp(self):
        while self.server.get("/queue/status").json["queue_size"]:
            time.sleep(0.01)

    def plan(self, **more):
        return self.ok(self.server.post(V1 + "plan", dict(SMALL, **more)))

    def test_a_plan_is_no_picture(self):
        before = self.server.get(V1 + "history?limit=1").json["items"]
        plan = self.plan()
        self.assertLessEqual(plan["bound_seconds"], plan["seconds"] * 1.0001)
        self.assertGreater(plan["peak_bytes"], 0)
        modes = {row["mode"]: row for row in plan["compare"]}
        self.assertLessEqual({"none", "model", "sequential", "balanced", "auto"}, set(modes))
        for row in modes.values():
            self.assertTrue(row["works"] and row["seconds"] > 0 and row["peak_bytes"] > 0 and "bound_seconds" in row, row)
        self.assertEqual(plan["from"], "device")
        self.assertGreater(self.plan(steps=40)["seconds"], plan["seconds"])
        least = plan["min_budget_bytes"]
        self.assertEqual(self.plan(budget=str(2 * least))["budget_bytes"], 2 * least)
        self.assertEqual(self.plan()["budget_bytes"] > 2 * least, True)
        for bad in ("banana", 3, str(least // 2)):
            self.refused(self.server.post(V1 + "plan", dict(SMALL, budget=bad)), "budget")
        for field, bad in (("budget", "x"), ("offload", "nope"), ("low", "2"), ("fit_check", "x")):
            self.refused(self.server.post(V1 + "settings", {field: bad}), field)
        self.plan(init_images=[b64(png(64, 64))])
        self.tells_what_it_does_without()
        self.refused(self.server.post(V1 + "plan", dict(SMALL, steps="many")), "steps")
        self.assertEqual(self.server.post(V1 + "plan", dict(SMALL, model="nowhere")).status, 404)
        self.assertEqual(self.server.get(V1 + "history?limit=1").json["items"], before)
        self.assertEqual(self.server.get(V1 + "jobs").json["items"], [])

    def tells_what_it_does_without(self, **more):
        """In its answer, and not in the log: it is asked for at each letter of a prompt."""
        said = self.plan(prompt="a panda <lora:nowhere:1>", **more)["warnings"]
        self.assertEqual(len(said), 1, said)
        self.assertIn('no adapter "nowhere"', said[0])
        self.assertEqual(self.plan(**more)["warnings"], [])
        with open(self.server.data + ".log") as log:
            self.assertNotIn("nowhere", log.read())

    def test_a_plan_begins_with_what_is_there(self):
        self.ok(self.server.post("/sdapi/v1/unload-checkpoint"))
        self.server.until(self.server.add())  # who plans from now on knows the prompt
        self.ok(self.server.post("/sdapi/v1/unload-checkpoint"))
        cold = self.plan()
        self.server.until(self.server.add())
        warm = self.plan()
        self.assertEqual((warm["from"], warm["moved_bytes"], warm["moves"]), ("device", 0, 0))
        self.assertGreater(cold["moved_bytes"], 0)
        self.assertEqual(warm["bound_moved_bytes"], 0)
        self.assertEqual([r["moved_bytes"] for r in warm["compare"]], [r["moved_bytes"] for r in cold["compare"]])
        self.ok(self.server.post("/sdapi/v1/unload-checkpoint"))
        self.assertEqual(self.plan()["moved_bytes"], cold["moved_bytes"])

    def test_a_plan_beside_a_picture(self):
        self.server.until(self.server.add())
        cold = self.plan()
        long = self.server.add(steps=400, width=128, height=128)
        self.server.until(long, ("running",))
        start = time.time()
        busy = self.plan()
        self.assertLess(time.time() - start, 10)
        self.assertEqual(busy["from"], "empty")
        self.tells_what_it_does_without()
        self.assertAlmostEqual(busy["budget_bytes"] / cold["budget_bytes"], 1, 1)
        self.assertEqual(self.server.get(V1 + "jobs/" + long).json["state"], "running")
        self.server.ask("DELETE", V1 + "jobs/" + long)
        self.server.until(long)

    def test_a_curve(self):
        curve = self.ok(self.server.get(V1 + "plan/curve?steps=4&width=64&height=64&points=5"))
        rows = [r for r in curve["sweep"] if r["mode"] == "auto"]
        self.assertEqual(len(rows), 5)
        self.assertTrue(all(a["budget_bytes"] < b["budget_bytes"] for a, b in zip(rows, rows[1:])))
        self.assertTrue(all(r["works"] and r["bound_seconds"] <= r["seconds"] * 1.0001 for r in rows), rows)
        for bad, field in (("points=1", "points"), ("points=x", "points"), ("low=2G:3G", "low"), ("steps=many", "steps")):
            self.refused(self.server.get(V1 + "plan/curve?" + bad), field)
        self.assertEqual(self.server.get(V1 + "plan/curve?low=banana&high=2G").status, 422)

    def test_a_curve_of_a_body(self):
        """One that begins from a picture has a phase more."""
        small = {"steps": 4, "width": 64, "height": 64}
        text = self.ok(self.server.post(V1 + "plan/curve?points=3", small))
        self.assertEqual(len(text["phases"]), len(self.ok(self.server.get(V1 + "plan/curve?steps=4&width=64&height=64&points=3"))["phases"]))
        picture = self.ok(self.server.post(V1 + "plan/curve?points=3", dict(small, init_images=[b64(png(64, 64))])))
        modules = [[phase["module"] for phase in plan["phases"]] for plan in (text, picture)]
        self.assertEqual(["vae_encoder" in one for one in modules], [False, True])
        self.assertEqual(len([r for r in picture["sweep"] if r["mode"] == "auto"]), 3)
        self.refused(self.server.post(V1 + "plan/curve?points=3", dict(small, init_images=["no picture"])), "init_images")
        self.refused(self.server.post(V1 + "plan/curve?points=1", small), "points")
        for name, value in (("budget", "2G"), ("points", 3), ("low", "1G"), ("high", "2G")):
            self.refused(self.server.post(V1 + "plan/curve", dict(small, **{name: value})), name)

    def test_a_refusal_names_fields(self):
        """As requests have them, not as the command does."""
        large = dict(SMALL, width=512, height=512)
        least = self.plan(**large)["min_budget_bytes"]
        told = self.refused(self.server.post(V1 + "plan", dict(large, budget=str(least - 1))), "budget")
        self.assertIn("decode taesd", told)
        self.assertNotIn("-decode", told)

    def test_residency(self):
        self.server.until(self.server.add())
        idle = self.ok(self.server.get(V1 + "residency"))
        model = idle["models"][0]
        self.assertEqual(sum(m["resident_bytes"] for m in idle["models"]), idle["resident_bytes"])
        self.assertGreater(idle["resident_bytes"], 0)
        self.assertGreater(idle["budget_bytes"], idle["resident_bytes"])
        for module in model["modules"]:
            here = sum(b["bytes"] for b in module["blocks"] if b["at"] is not None)
            self.assertEqual(here, module["resident_bytes"])
        long = self.server.add(steps=400, width=128, height=128)
        self.server.until(long, ("running",))
        for _ in range(20):
            busy = self.ok(self.server.get(V1 + "residency"))
            self.assertGreater(busy["region_bytes"], 0)
        self.assertEqual(self.server.get(V1 + "jobs/" + long).json["state"], "running")
        self.server.ask("DELETE", V1 + "jobs/" + long)
        self.server.until(long)
        self.server.post("/sdapi/v1/unload-checkpoint")
        self.assertEqual(self.server.get(V1 + "residency").json["resident_bytes"], 0)

    def test_devices(self):
        devices = self.ok(self.server.get(V1 + "devices"))["items"]
        self.assertIn("cpu", [d["device"] for d in devices])

    def test_settings_hold_from_the_next_picture(self):
        before = self.ok(self.server.get(V1 + "settings"))
        self.assertEqual((before["offload"], before["budget"], before["host_budget"]), ("auto", None, None))
        least = self.plan()["min_budget_bytes"]
        self.assertEqual(self.ok(self.server.post(V1 + "settings", {"offload": "sequential", "budget": str(2 * least)})),
                         dict(before, offload="sequential", budget=str(2 * least)))
        job = self.server.until(self.server.add())
        self.assertEqual((job["ballast"]["plan"]["mode"], job["ballast"]["plan"]["budget_bytes"]), ("sequential", 2 * least))
        self.assertEqual(self.plan()["budget_bytes"], 2 * least)
        self.assertEqual(self.ok(self.server.post(V1 + "settings", {"budget": "1K"}))["budget"], "1K")
        self.assertIn("smallest that works", self.refused(self.server.post(V1 + "plan", SMALL), "budget"))
        self.assertIn("smallest that works", self.refused(self.server.post("/sdapi/v1/txt2img", SMALL), "budget"))
        for bad in ({"budget": "banana"}, {"budget": "0K"}, {"offload": "perhaps"}, {"budget": [3]}, {"model": ""}):
            self.assertEqual(self.server.post(V1 + "settings", bad).status, 422, bad)
        no_store = self.server.post(V1 + "settings", {"host_budget": "2G"})  # weights wait nowhere beside the CPU's
        self.assertEqual(no_store.status, 422)
        self.assertIn("host-budget", no_store.data.decode())
        self.assertEqual(self.server.post(V1 + "settings", {"model": "nowhere"}).status, 404)
        self.assertEqual(self.ok(self.server.post(V1 + "settings", {"offload": "", "budget": ""})), before)
        job = self.server.until(self.server.add())
        self.assertEqual(job["ballast"]["plan"]["mode"], "auto")

    def test_settings_of_balanced(self):
        before = self.ok(self.server.get(V1 + "settings"))
        wish = {"offload": "balanced", "low": "0.2", "high": "0.9", "never": "unet", "always": "vae_decoder", "fit_check": "off"}
        self.assertEqual(self.ok(self.server.post(V1 + "settings", wish)), dict(before, **wish))
        plan = self.server.until(self.server.add())["ballast"]["plan"]
        self.assertEqual(plan["mode"], "balanced")
        self.assertIn("always", [d["why"] for d in plan["decisions"] if d["module"] == "vae_decoder"])
        for bad in ({"low": "much"}, {"high": "2"}, {"fit_check": "perhaps"}):
            self.assertEqual(self.server.post(V1 + "settings", bad).status, 422, bad)
        self.assertEqual(self.ok(self.server.post(V1 + "settings", {key: "" for key in wish})), before)

    def test_who_said_so(self):
        server = Server("--offload", "balanced", "--fit-check", "off", env={"BALLAST_NEVER": "unet"})
        try:
            settings = server.get(V1 + "settings").json
            self.assertEqual([settings[k] for k in ("offload", "fit_check", "never", "budget")], ["balanced", "off", "unet", None])
            self.assertEqual(settings["started"]["offload"], "balanced")
            self.assertEqual([settings["from"][k] for k in ("offload", "fit_check", "never", "budget")],
                             ["the command line", "the command line", "BALLAST_NEVER", None])
            server.post(V1 + "settings", {"offload": "auto", "never": ""})
            settings = server.get(V1 + "settings").json
            self.assertEqual((settings["offload"], settings["never"], settings["started"]["offload"]), ("auto", "unet", "balanced"))
        finally:
            server.close()

    def test_metrics(self):
        def read():
            text = self.server.get("/metrics")
            self.assertTrue(text.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
            lines = text.data.decode().splitlines()
            for line in lines:
                self.assertRegex(line, r'^(# (HELP|TYPE) ballast_\w+ .+|ballast_\w+(\{\w+="\w+"\})? [0-9.]+)$')
            return {l.split(" ")[0]: float(l.split(" ")[1]) for l in lines if not l.startswith("#")}
        self.server.until(self.server.add())
        before = read()
        self.server.until(self.server.add(n_iter=2))
        after = read()
        self.assertGreater(after["ballast_text_cache_hits_total"], before["ballast_text_cache_hits_total"])
        self.assertEqual(after["ballast_text_cache_misses_total"], before["ballast_text_cache_misses_total"])
        self.assertGreater(before["ballast_text_cache_misses_total"], 0)
        self.assertGreater(after["ballast_text_cache_entries"], 0)
        self.assertGreater(after["ballast_text_cache_bytes"], 0)
        self.assertEqual(after["ballast_pictures_total"] - before["ballast_pictures_total"], 2)
        done = 'ballast_jobs_total{state="done"}'
        self.assertEqual(after[done] - before[done], 1)
        self.assertEqual(after["ballast_reloads_avoided_total"] - before["ballast_reloads_avoided_total"], 1)
        pipeline = 'ballast_stage_seconds_total{stage="pipeline"}'
        self.assertGreater(after[pipeline], before[pipeline])
        self.assertEqual(after["ballast_resident_bytes"], self.server.get(V1 + "residency").json["resident_bytes"])
        self.assertGreater(after["ballast_budget_bytes"], after["ballast_resident_bytes"])


class Described(Case):
    """A machine with a card, in numbers alone: it plans."""
    flags = ("--device", "sim:" + os.path.join(SHARE, "rtx4060-laptop-16gb.json"))

    def test_host_memory_is_a_setting(self):
        self.ok(self.server.post(V1 + "settings", {"host_budget": "2G", "budget": "1G"}))
        plan = self.ok(self.server.post(V1 + "plan", SMALL))
        self.assertEqual((plan["host_bytes"], plan["budget_bytes"]), (2000000000, 1000000000))
        self.assertEqual(self.ok(self.server.post(V1 + "settings", {"host_budget": ""}))["host_budget"], None)
        self.assertGreater(self.ok(self.server.post(V1 + "plan", SMALL))["host_bytes"], 2000000000)


class LostCard(Case):
    """A card that is lost now and then: the job fails with a sentence, the next one finds the card opened again."""
    flags = ("--device", "fakecuda:1")
    env = {"BALLAST_PLUGINS": os.path.join(os.path.dirname(PROGRAM), "../plugins"), "BALLAST_FAKE_CUDA": "late=9000"}

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.flags, env=cls.env)

    def test_the_next_job_goes_on(self):
        views = [self.server.until(self.server.add(seed=i), seconds=300) for i in range(1, 13)]
        states = [v["state"] for v in views]
        self.assertIn("failed", states)
        self.assertIn("done", states[states.index("failed"):], states)
        for v in views:
            if v["state"] == "failed":
                self.assertIn("CUDA_ERROR_ILLEGAL_ADDRESS", str(v))


PLUGINS = os.path.join(os.path.dirname(os.path.abspath(PROGRAM)), "../plugins")


@unittest.skipUnless(os.path.exists(os.path.join(PLUGINS, "ballast-fakecuda.so")), "the card that is none is not built")
class Card(Case):
    """What is asked while a card works opens no second context on it."""
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--device", "fakecuda:1", "--dtype", "f32", env={"BALLAST_PLUGINS": PLUGINS})

    def test_it_is_planned_on_its_description(self):
        first = self.server.until(self.server.add())
        self.assertEqual(first["state"], "done", first["error"])
        while self.server.get("/queue/status").json["queue_size"]:
            time.sleep(0.01)
        idle = self.ok(self.server.post(V1 + "plan", SMALL))
        self.assertEqual(idle["from"], "device")
        long = self.server.add(steps=40)
        self.server.until(long, ("running",))
        busy = self.ok(self.server.post(V1 + "plan", SMALL))
        self.assertEqual((busy["from"], busy["device"]), ("described", idle["device"]))
        self.assertEqual(busy["phases_measured"], len(busy["phases"]))  # what was measured on the card
        self.ok(self.server.post(V1 + "settings", {"budget": "80%"}))
        self.server.ask("DELETE", V1 + "jobs/" + long)
        self.server.until(long)


if __name__ == "__main__":
    unittest.main()
