"""Jobs in work: ended early, picture by picture, and computed together."""
import glob
import json
import os
import resource
import sqlite3
import tempfile
import threading
import time
import unittest

from rig import Case, Server, pixels

SD, V1 = "/sdapi/v1/", "/ballast/v1/"
SOME = dict(steps=8, width=128, height=128)


class Early(Case):
    """Nothing was measured of batches, so that a job's pictures come one after the other."""
    @classmethod
    def setUpClass(cls):
        cls.cache = tempfile.TemporaryDirectory()
        cls.server = Server(env={"XDG_CACHE_HOME": cls.cache.name}, gated=True)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.cache.cleanup()

    def seen(self, job, number):
        return pixels(self.server.get(V1 + "jobs/%s/image/%d" % (job, number)).data)

    def until_step(self, job, image=0):
        for _ in range(3000):
            now = self.server.get(SD + "progress?skip_current_image=true").json
            if now["ballast"]["job"] == job and now["state"]["job_no"] == image and now["state"]["sampling_step"] > 1:
                return
            time.sleep(0.01)
        raise AssertionError(now)

    def test_interrupt_ends_the_running_job_alone(self):
        self.server.close_gate(1, 2)
        job, other = self.server.add(n_iter=3, **SOME), self.server.add(**SOME)
        self.until_step(job, 1)
        self.assertEqual(self.server.post(SD + "interrupt").json, {})
        self.server.open_gate()
        view = self.server.until(job)
        self.assertEqual((view["state"], view["error"], [i["seed"] for i in view["images"]]), ("done", None, [1, 2]))
        self.assertIn("interrupted", " ".join(view["warnings"]))
        view = self.server.until(other)
        self.assertEqual((view["state"], view["warnings"]), ("done", []))
        self.assertTrue(self.seen(job, 0) == self.seen(other, 0))
        alone = self.server.add(**dict(SOME, seed=2))
        self.server.until(alone)
        self.assertTrue(self.seen(alone, 0) != self.seen(job, 1))
        left_out = self.server.get(V1 + "jobs/" + job).json["report"]["batches"]
        self.assertTrue(len(left_out) == 2 and left_out[1]["left_out"] > 0)

    def test_skip_ends_one_picture(self):
        self.server.close_gate(1, 2)
        job = self.server.add(n_iter=3, **SOME)
        self.until_step(job, 1)
        self.assertEqual(self.server.post(SD + "skip").json, None)
        self.server.open_gate()
        view = self.server.until(job)
        self.assertEqual((view["state"], len(view["images"])), ("done", 3))
        self.assertIn("skipped", " ".join(view["warnings"]))
        whole = self.server.add(n_iter=3, **SOME)
        self.server.until(whole)
        self.assertEqual([self.seen(job, i) == self.seen(whole, i) for i in range(3)], [True, False, True])

    def test_hires(self):
        self.server.close_gate(0, 2)
        job = self.server.add(enable_hr=True, hr_scale=1.5, hr_second_pass_steps=200, denoising_strength=1, **SOME)
        self.until_step(job)
        self.server.post(SD + "interrupt")
        self.server.open_gate()
        view = self.server.until(job, seconds=20)
        self.assertEqual([(i["width"], i["height"]) for i in view["images"]], [(192, 192)])

    def test_nothing_in_work(self):
        self.assertEqual(self.server.post(SD + "interrupt").json, {})
        self.assertEqual(self.server.post(SD + "skip").json, None)
        self.assertEqual(self.server.until(self.server.add())["warnings"], [])


class Together(unittest.TestCase):
    """The calibration is told that a picture alone takes long: then the plan says that it pays to compute several at
    once."""
    @classmethod
    def setUpClass(cls):
        cls.cache = tempfile.TemporaryDirectory()
        server = Server(env={"XDG_CACHE_HOME": cls.cache.name})
        for batch in (4, 2, 1):
            server.until(server.add(batch_size=batch, **dict(SOME, steps=2)))
        server.close()
        (cls.calibration,) = glob.glob(cls.cache.name + "/**/calibration*.db", recursive=True)
        cls.server = Server(env={"XDG_CACHE_HOME": cls.cache.name}, gated=True)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        cls.cache.cleanup()

    def seen(self, job, number=0):
        return pixels(self.server.get(V1 + "jobs/%s/image/%d" % (job, number)).data)

    def setUp(self):
        """A block takes a second for one picture, and a tenth of that for two or four."""
        db = sqlite3.connect(self.calibration)
        db.execute("UPDATE blocks SET seconds = CASE WHEN shape LIKE '2x%' THEN 1 ELSE 0.1 END WHERE module = 'unet'")
        db.commit()
        db.close()

    def start(self, seeds, **more):
        """Jobs that wait behind another one, until the first of them has made a step and waits at the gate."""
        self.server.close_gate()
        before = self.server.add(prompt="a castle", steps=1)
        self.server.until(before, ("running",))
        jobs = [self.server.add(**{**SOME, "seed": seed, **more}) for seed in seeds]
        self.server.close_gate(0, 2)
        end = time.time() + 60
        while time.time() < end and self.server.get(SD + "progress?skip_current_image=1").json["state"]["sampling_step"] < 2:
            time.sleep(0.01)
        return jobs

    def test_each_has_its_own_bits(self):
        jobs = self.start((5, 900, 7, 7))
        self.server.open_gate()
        views = [self.server.until(job) for job in jobs]
        for job, view, seed in zip(jobs, views, (5, 900, 7, 7)):
            self.assertEqual(view["batched_with"], [j for j in jobs if j != job])
            self.assertEqual(view["ballast"]["batched_with"], view["batched_with"])
            self.assertEqual((view["state"], view["seed"], [i["seed"] for i in view["images"]]), ("done", seed, [seed]))
            self.assertEqual(view["report"]["seed"], seed)
            alone = self.server.until(self.server.add(**dict(SOME, seed=seed)))
            self.assertEqual(alone["batched_with"], [])
            self.assertTrue(self.seen(job) == self.seen(alone["id"]), seed)
            self.assertEqual(view["images"][0]["parameters"], alone["images"][0]["parameters"])

    def test_what_differs_is_not_taken_along(self):
        jobs = self.start((5, 6)) + [self.server.add(**dict(SOME, seed=7, cfg_scale=8))]
        self.server.open_gate()
        last = [self.server.until(job) for job in jobs][2]
        self.assertEqual(last["batched_with"], [])

    def test_one_is_cancelled(self):
        jobs = self.start((5, 6, 7, 8))
        before = self.server.get(V1 + "jobs/" + jobs[2]).json
        self.assertEqual((before["state"], len(before["batched_with"])), ("running", 3))
        self.assertEqual(self.server.ask("DELETE", V1 + "jobs/" + jobs[2]).status, 200)
        self.assertEqual(self.server.get(V1 + "jobs/" + jobs[2]).json["state"], "cancelled")
        now = [self.server.get(V1 + "jobs/" + job).json for job in jobs]
        self.assertEqual([v["state"] for v in now], ["running", "running", "cancelled", "running"])
        self.assertTrue(0 < now[1]["progress"] < 1)
        self.server.open_gate()
        views = [self.server.until(job) for job in jobs]
        self.assertEqual([(v["state"], len(v["images"])) for v in views],
                         [("done", 1), ("done", 1), ("cancelled", 0), ("done", 1)])
        alone = self.server.until(self.server.add(**dict(SOME, seed=8)))
        self.assertTrue(self.seen(alone["id"]) == self.seen(jobs[3]))

    def test_one_is_interrupted(self):
        jobs = self.start((5, 6))
        self.server.post(SD + "interrupt")
        self.server.open_gate()
        views = [self.server.until(job) for job in jobs]
        self.assertEqual([(v["state"], len(v["images"])) for v in views], [("done", 1)] * 2)
        self.assertIn("interrupted", " ".join(views[0]["warnings"]))
        self.assertEqual(views[1]["warnings"], [])
        alone = self.server.until(self.server.add(**dict(SOME, seed=6)))
        self.assertTrue(self.seen(alone["id"]) == self.seen(jobs[1]))

    def test_all_are_cancelled(self):
        jobs = self.start((5, 6))
        for job in jobs:
            self.server.ask("DELETE", V1 + "jobs/" + job)
        self.server.open_gate()
        self.assertEqual([self.server.until(job, seconds=20)["state"] for job in jobs], ["cancelled"] * 2)

    def test_a_failure_is_each_ones_own(self):
        """Together they fail, as on a disk that is full; then each is tried alone."""
        jobs = self.start((5, 6), steps=20)
        pid = self.server.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        size = os.path.getsize(self.server.data + ".log")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (2048, hard))
        self.server.open_gate()
        end = time.time() + 30
        while time.time() < end and os.path.getsize(self.server.data + ".log") == size:
            time.sleep(0.05)  # not even their end can be kept
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        views = [self.server.until(job) for job in jobs]
        self.assertEqual([(v["state"], v["batched_with"]) for v in views][0], ("failed", []))
        self.assertIn((views[1]["state"], views[1]["batched_with"]), (("done", []), ("failed", [])))

    def test_pictures_of_one_job(self):
        job = self.server.until(self.server.add(n_iter=4, **SOME))
        self.assertEqual([i["seed"] for i in job["images"]], [1, 2, 3, 4])
        self.assertEqual(len(job["report"]["batches"]), 1)
        alone = self.server.until(self.server.add(**dict(SOME, seed=3)))
        self.assertTrue(self.seen(alone["id"]) == self.seen(job["id"], 2))

    def test_a_stream_each(self):
        """Each caller gets its own answer, previews included."""
        self.server.close_gate()
        before = self.server.add(prompt="a castle", steps=1)
        replies = {}

        def ask(seed):
            body = {"prompt": "a panda", "size": "128x128", "steps": 20, "seed": seed, "stream": True, "partial_images": 1}
            replies[seed] = self.server.post("/v1/images/generations", body).data.decode()
        threads = [threading.Thread(target=ask, args=(seed,)) for seed in (5, 6)]
        for t in threads:
            t.start()
        while self.server.get("/queue/status").json["queue_size"] < 3:
            time.sleep(0.01)
        self.server.open_gate()
        for t in threads:
            t.join()
        self.server.until(before)
        self.assertEqual(set(replies), {5, 6})
        for text in replies.values():
            self.assertEqual(text.count("event: image_generation.completed"), 1)
            self.assertEqual(text.count("event: image_generation.partial_image"), 1)
        last = [json.loads(text.split("image_generation.completed\ndata: ")[1].split("\n")[0]) for text in replies.values()]
        self.assertTrue(last[0]["b64_json"] != last[1]["b64_json"])


if __name__ == "__main__":
    unittest.main()
