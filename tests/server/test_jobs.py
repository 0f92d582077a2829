"""The queue and the history of /ballast/v1, and what a killed server has kept."""
import os
import random
import resource
import signal
import threading
import time
import unittest

from rig import SMALL, Case, Server, b64, png, png_size

V1 = "/ballast/v1/"


class Jobs(Case):
    def test_a_job(self):
        r = self.server.post(V1 + "jobs", dict(SMALL, n_iter=2))
        self.assertEqual(r.status, 202, r.data)
        job = self.server.until(r.json["id"])
        self.assertEqual((job["state"], job["seed"], job["error"]), ("done", 1, None))
        self.assertEqual([i["seed"] for i in job["images"]], [1, 2])
        data = self.server.get(job["images"][0]["url"])
        self.assertEqual(data.headers["Content-Type"], "image/png")
        self.assertEqual(png_size(data.data), (64, 64))
        self.assertEqual(self.server.get(V1 + "jobs/%s/image/2" % job["id"]).status, 404)
        self.assertEqual(self.server.get(V1 + "jobs/%s/image/x" % job["id"]).status, 404)
        self.assertEqual(self.server.get(V1 + "jobs/nowhere").status, 404)

    def test_a_seed_is_drawn_and_kept(self):
        job = self.server.until(self.server.add(seed=-1))
        self.assertEqual(job["seed"], job["images"][0]["seed"])

    def test_image_to_image(self):
        job = self.server.until(self.server.add(init_images=[b64(png(64, 64))], denoising_strength=0.5))
        self.assertEqual(job["state"], "done", job["error"])
        self.assertIn("Denoising strength: 0.5", job["images"][0]["parameters"])

    def test_the_same_key_is_the_same_job(self):
        ids = {self.server.post(V1 + "jobs", SMALL, headers={"Idempotency-Key": "once"}).json["id"] for _ in range(3)}
        self.assertEqual(len(ids), 1)
        other = self.server.post(V1 + "jobs", dict(SMALL, seed=2), headers={"Idempotency-Key": "once"})
        self.assertIn(ids.copy().pop(), self.refused(other, "Idempotency-Key"))
        self.server.until(ids.pop())

    def test_queue_order_and_cancel(self):
        long = self.server.add(steps=400, width=128, height=128)
        self.server.until(long, ("running",))
        waiting = [self.server.add() for _ in range(4)]
        first = self.server.add(priority=5)
        listed = [j["id"] for j in self.server.get(V1 + "jobs").json["items"]]
        self.assertEqual(listed, [long, first] + waiting)
        self.assertEqual(self.server.ask("PATCH", V1 + "jobs/" + waiting[3], {"position": 1}).status, 200)
        for bad in ("x", 1.5, -1, None, 1e9):
            self.refused(self.server.ask("PATCH", V1 + "jobs/" + waiting[3], {"position": bad}), "position")
        self.assertEqual(self.server.ask("PATCH", V1 + "jobs/" + long, {"position": 0}).status, 409)
        self.assertEqual(self.server.ask("PATCH", V1 + "jobs/nowhere", {"position": 0}).status, 404)
        listed = [j["id"] for j in self.server.get(V1 + "jobs?state=queued").json["items"]]
        self.assertEqual(listed, [first, waiting[3]] + waiting[:3])
        self.assertEqual(self.server.ask("DELETE", V1 + "jobs/" + waiting[0]).status, 200)
        self.assertEqual(self.server.ask("DELETE", V1 + "jobs/" + long).status, 200)
        self.assertEqual(self.server.until(long)["state"], "cancelled")
        self.assertEqual(self.server.get(V1 + "jobs/" + waiting[0]).json["state"], "cancelled")
        for job in waiting[1:]:
            self.assertEqual(self.server.until(job)["state"], "done")
        self.assertEqual(self.server.get(V1 + "jobs?state=later").status, 422)

    def test_what_was_asked_before_is_not_answered_again(self):
        """Lists and states are held ready, and never older than what the same caller has changed."""
        long = self.server.add(steps=400, width=128, height=128)
        self.server.until(long, ("running",))
        for i in range(20):
            before = [j["id"] for j in self.server.get(V1 + "jobs").json["items"]]
            job = self.server.add()
            listed = [j["id"] for j in self.server.get(V1 + "jobs").json["items"]]
            self.assertEqual((sorted(listed), job in before), (sorted(before + [job]), False))
            self.assertEqual(self.server.get(V1 + "jobs/" + job).json["position"], i)
            self.assertEqual(self.server.get("/queue/status").json["queue_size"], i + 2)
        self.assertEqual(self.server.ask("PATCH", V1 + "jobs/" + job, {"position": 0}).status, 200)
        self.assertEqual(self.server.get(V1 + "jobs/" + job).json["position"], 0)
        self.server.ask("DELETE", V1 + "jobs/" + long)
        self.assertEqual(self.server.until(long)["state"], "cancelled")
        for j in listed[1:]:
            self.server.ask("DELETE", V1 + "jobs/" + j)
            self.assertIn(self.server.until(j)["state"], ("cancelled", "done"))
        self.assertEqual(self.server.get(V1 + "jobs").json["items"], [])
        self.assertEqual(self.server.get("/sdapi/v1/progress").json["progress"], 0)
        self.assertEqual(self.server.ask("DELETE", V1 + "history/" + job).status, 200)
        self.assertEqual(self.server.get(V1 + "jobs/" + job).status, 404)

    def test_a_failure_touches_no_other(self):
        bad = self.server.add(override_settings={"CLIP_stop_at_last_layers": 12})
        self.assertEqual(self.server.until(bad)["state"], "failed")
        self.assertTrue(self.server.get(V1 + "jobs/" + bad).json["error"])
        self.assertEqual(self.server.until(self.server.add())["state"], "done")

    def test_history(self):
        ids = [self.server.add(prompt="a castle number %d" % i) for i in range(3)]
        for job in ids:
            self.server.until(job)
        page = self.server.get(V1 + "history?limit=2").json
        self.assertEqual([i["job"] for i in page["items"]], ids[:0:-1])
        more = self.server.get(V1 + "history?limit=2&after=%d" % page["next"]).json
        self.assertEqual(more["items"][0]["job"], ids[0])
        found = self.server.get(V1 + "history?search=NUMBER%201").json["items"]
        self.assertEqual([i["job"] for i in found], [ids[1]])
        self.assertEqual(self.server.ask("DELETE", V1 + "history/" + ids[1]).status, 200)
        self.assertEqual(self.server.get(V1 + "history?search=number%201").json["items"], [])
        self.assertFalse([f for f in os.listdir(self.server.data + "/pictures") if f.startswith(ids[1])])
        for bad in ("limit=x", "limit=0", "limit=-1", "after=x", "after=-1"):
            self.assertEqual(self.server.get(V1 + "history?" + bad).status, 422, bad)
        for odd in ("%25", "_", "';--", "%00", "%ff"):
            self.assertIn(self.server.get(V1 + "history?search=" + odd).status, (200, 422), odd)
        self.assertEqual(self.server.get(V1 + "history?search=%25").json["items"], [])

    def test_one_of_several_is_deleted(self):
        job = self.server.add(n_iter=3)
        url = V1 + "history/%s/" % job
        self.assertEqual(len(self.server.until(job)["images"]), 3)
        for bad in ("3", "-1", "x", "99999999999"):
            self.assertEqual(self.server.ask("DELETE", url + bad).status, 404, bad)
        self.ok(self.server.ask("DELETE", url + "1"))
        self.assertEqual(self.server.ask("DELETE", url + "1").status, 404)
        self.assertEqual([i["index"] for i in self.server.get(V1 + "jobs/" + job).json["images"]], [0, 2])
        self.assertEqual(self.server.get(V1 + "jobs/%s/image/1" % job).status, 404)
        self.assertEqual(self.server.get(V1 + "jobs/%s/image/2" % job).status, 200)
        self.assertFalse(os.path.exists(self.server.data + "/pictures/%s-1.png" % job))
        self.ok(self.server.ask("DELETE", url + "0"))
        self.ok(self.server.ask("DELETE", url + "2"))
        self.assertEqual(self.server.get(V1 + "jobs/" + job).status, 404)  # with its last picture

    def test_history_by_model_and_date(self):
        job = self.server.until(self.server.add(prompt="a dated castle"))
        made = job["images"][0]["created"]
        def found(**wish):
            r = self.server.get(V1 + "history?search=dated&" + "&".join("%s=%s" % pair for pair in wish.items()))
            return [i["job"] for i in self.ok(r)["items"]]
        for wish in ({}, {"model": "ballast-mini"}, {"since": made - 1}, {"until": made + 1}, {"since": int(made) - 1, "until": made + 1}):
            self.assertEqual(found(**wish), [job["id"]], wish)
        for wish in ({"model": "ballast"}, {"model": "mini"}, {"since": made + 1}, {"until": made - 1}):
            self.assertEqual(found(**wish), [], wish)
        for bad in ("since=x", "until=yesterday", "since=-1"):
            self.assertEqual(self.server.get(V1 + "history?" + bad).status, 422, bad)

    def test_small_pictures(self):
        url = self.server.until(self.server.add(width=128, height=64))["images"][0]["url"]
        small = self.server.get(url + "?size=32")
        self.assertEqual((small.status, small.headers["Content-Type"], small.data[8:12]), (200, "image/webp", b"WEBP"))
        self.assertLess(len(small.data), len(self.server.get(url).data))
        self.assertIn("immutable", small.headers["Cache-Control"])
        self.assertEqual(self.server.get(url + "?size=1000").status, 200)
        for bad in ("size=0", "size=x", "size=", "size=5000", "size=-3"):
            self.assertEqual(self.server.get(url + "?" + bad).status, 422, bad)

    def test_what_cannot_be_deleted(self):
        self.assertEqual(self.server.ask("DELETE", V1 + "history/nowhere").status, 404)
        job = self.server.add(steps=400, width=128, height=128)
        self.server.until(job, ("running",))
        r = self.server.ask("DELETE", V1 + "history/" + job)
        self.assertEqual(r.status, 409)
        self.assertIn("running", r.json["detail"])
        self.server.ask("DELETE", V1 + "jobs/" + job)
        self.assertEqual(self.server.until(job)["state"], "cancelled")
        self.assertEqual(self.server.ask("DELETE", V1 + "history/" + job).status, 200)
        self.assertEqual(self.server.get(V1 + "jobs/" + job).status, 404)


class Full(Case):
    flags = ("--max-queue", "2")

    def test_a_full_queue_says_429(self):
        long = self.server.add(steps=400, width=128, height=128)
        self.server.until(long, ("running",))
        waiting = [self.server.add(), self.server.add()]
        r = self.server.post(V1 + "jobs", SMALL)
        self.assertEqual(r.status, 429)
        self.assertGreater(int(r.headers["Retry-After"]), 0)
        for job in [long] + waiting:
            self.server.ask("DELETE", V1 + "jobs/" + job)


class Room(Case):
    flags = ("--retain", "60K")

    def test_the_oldest_pictures_go(self):
        jobs = [self.server.add(seed=i) for i in range(9)]
        for job in jobs:
            self.server.until(job)
        time.sleep(0.2)
        items = self.server.get(V1 + "history?limit=1000").json["items"]
        kept = {i["job"] for i in items}
        self.assertIn(jobs[-1], kept)
        self.assertNotIn(jobs[0], kept)
        self.assertLessEqual(sum(i["bytes"] for i in items), 60 << 10)
        files = os.listdir(self.server.data + "/pictures")
        self.assertEqual({f.split("-")[0] for f in files}, kept)

    def test_a_full_disk(self):
        """Files may not grow for a while, as on a disk that is full."""
        pid = self.server.process.pid
        self.server.until(self.server.add())
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (2048, hard))
        try:
            r = self.server.post("/sdapi/v1/txt2img", SMALL, timeout=20)
            self.assertIn(r.status, (500, 507), r.data[:300])
            self.assertTrue(r.json["detail"])
            r = self.server.post(V1 + "jobs", SMALL)
            self.assertIn(r.status, (500, 507), r.data[:300])
            self.assertEqual(self.server.get(V1 + "history").status, 200)
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        self.assertEqual(self.server.until(self.server.add())["state"], "done")
        self.assertFalse([f for f in os.listdir(self.server.data + "/pictures") if not f.endswith(".png")])


class EndsThatCannotBeKept(unittest.TestCase):
    def test_they_are_kept_later(self):
        """The disk is full while a picture is made: its caller hears of it, and the job is no ghost."""
        server = Server(gated=True)
        pid, replies = server.process.pid, []
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        try:
            server.close_gate()
            caller = threading.Thread(target=lambda: replies.append(server.post("/sdapi/v1/txt2img", SMALL)))
            caller.start()
            while not server.get(V1 + "jobs?state=running").json["items"]:
                time.sleep(0.01)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (2048, hard))
            server.open_gate()
            caller.join(60)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
            self.assertEqual(replies[0].status, 507, replies[0].data[:300])
            self.assertIn("make room", replies[0].json["detail"])
            server.until(server.add(seed=2))
            states = [j["state"] for j in server.get(V1 + "jobs?state=queued,running,done,failed").json["items"]]
            self.assertEqual(sorted(states), ["done", "failed"])
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
            server.close()


class Killed(unittest.TestCase):
    def test_nothing_is_lost_or_doubled(self):
        server = Server()
        kept, random_kills = [], int(os.environ.get("BALLAST_TEST_KILLS", "6"))
        try:
            for turn in range(random_kills):
                kept += [(server.add(seed=100 * turn + i), 100 * turn + i) for i in range(3)]
                time.sleep(random.random() * 0.8)
                server.kill()
                server.start()
            for job, seed in kept:
                view = server.until(job)
                self.assertEqual((view["state"], [i["seed"] for i in view["images"]]), ("done", [seed]))
            items, after = [], ""
            while after is not None:
                page = server.get(V1 + "history?limit=100" + (after and "&after=%s" % after)).json
                items += [i["job"] for i in page["items"]]
                after = page["next"]
            self.assertEqual(sorted(items), sorted(job for job, _ in kept))
            for name in os.listdir(server.data + "/pictures"):
                self.assertTrue(name.endswith(".png"), name)
        finally:
            server.close()

    def test_a_signal_lets_the_picture_end(self):
        server = Server(gated=True)
        server.close_gate(0, 1)
        job, waiting = server.add(steps=4), server.add()
        try:
            server.until(job, ("running",))
            server.process.send_signal(signal.SIGTERM)
            server.open_gate()
            self.assertEqual(server.process.wait(60), 0)
            server.ended()
            server.start()
            self.assertEqual(server.get(V1 + "jobs/" + job).json["state"], "done")
            self.assertEqual(server.until(waiting)["state"], "done")
        finally:
            server.close()

    def test_a_second_signal_does_not_wait(self):
        server = Server("--grace", "600")
        try:
            job = server.add(steps=500, width=256, height=256)
            server.until(job, ("running",))
            start = time.time()
            server.process.send_signal(signal.SIGTERM)
            time.sleep(1)
            self.assertIsNone(server.process.poll())
            self.assertEqual(server.stop(), 0)  # the second one
            self.assertLess(time.time() - start, 20)
            server.start()
            self.assertIn(server.get(V1 + "jobs/" + job).json["state"], ("queued", "running"))
            server.ask("DELETE", V1 + "jobs/" + job)
        finally:
            server.close()

    def test_a_short_grace_makes_it_anew(self):
        server = Server("--grace", "0")
        try:
            job = server.add(steps=200, width=128, height=128)
            server.until(job, ("running",))
            start = time.time()
            self.assertEqual(server.stop(), 0)
            self.assertLess(time.time() - start, 10)
            server.start()
            self.assertIn(server.get(V1 + "jobs/" + job).json["state"], ("queued", "running"))
        finally:
            server.close()


if __name__ == "__main__":
    unittest.main()
