"""Ten thousand who are connected, two hundred who ask, and a picture that is made beside them. Slow."""
import asyncio
import json
import os
import resource
import threading
import time
import unittest

from rig import SMALL, Case, drip

IDLE = int(os.environ.get("BALLAST_TEST_IDLE", "10000"))
POLLERS = int(os.environ.get("BALLAST_TEST_POLLERS", "200"))


def files(most):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard < 1 << 20 else 1 << 20, hard))
    return min(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1000)


class Load(Case):
    """Beside its tests somebody sends a header a byte every half second, which ends after 20 s."""
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.dripped = []
        cls.slow = threading.Thread(target=lambda: cls.dripped.append(drip(cls.server, threading.Event())))
        cls.slow.start()

    @classmethod
    def tearDownClass(cls):
        cls.slow.join(45)
        super().tearDownClass()
        assert cls.dripped and 15 < cls.dripped[0] < 30, cls.dripped

    async def poll(self, until, times):
        reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
        request = b"GET /sdapi/v1/progress?skip_current_image=true HTTP/1.1\r\nHost: localhost\r\n\r\n"
        while time.time() < until:
            start = time.time()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int([h for h in head.split(b"\r\n") if h.lower().startswith(b"content-length")][0].split(b":")[1])
            await reader.readexactly(length)
            times.append(time.time() - start)
            await asyncio.sleep(max(0, 0.1 - (time.time() - start)))
        writer.close()

    async def crowd(self, idle, pollers, seconds, times):
        connections = []
        for _ in range(idle):
            connections.append(await asyncio.open_connection(self.server.host, self.server.port))
        until = time.time() + seconds
        await asyncio.gather(*[self.poll(until, times) for _ in range(pollers)])
        for _, writer in connections:
            writer.close()

    def test_many_connections(self):
        times = []
        idle = files(IDLE)
        asyncio.run(self.crowd(idle, POLLERS, 3, times))
        times.sort()
        p99 = times[int(len(times) * 0.99)]
        print("%d idle, %d pollers: %d answers, p50 %.1f ms, p99 %.1f ms" % (
            idle, POLLERS, len(times), 1e3 * times[len(times) // 2], 1e3 * p99))
        self.assertGreater(len(times), 0)
        self.assertEqual(self.server.get("/healthz").status, 200)

    def test_a_thousand_jobs(self):
        long = self.server.add(steps=400, width=128, height=128)
        ids = [self.server.add() for _ in range(1000)]
        best = min(self.timed() for _ in range(5))
        print("1000 jobs listed in %.0f ms" % (1e3 * best))
        self.assertLess(best, 0.5)
        self.server.ask("DELETE", "/ballast/v1/jobs/" + long)
        for job in ids[5:]:
            self.assertEqual(self.server.ask("DELETE", "/ballast/v1/jobs/" + job).status, 200)
        for job in ids[:5]:
            self.server.until(job)

    def test_hundreds_of_pictures_leave_nothing(self):
        """Memory after the first few hundred jobs is memory after the last."""
        count = int(os.environ.get("BALLAST_TEST_JOBS", "300"))
        sizes = []
        for i in range(count):
            r = self.server.post("/sdapi/v1/txt2img", dict(SMALL, steps=1, seed=i))
            self.assertEqual(r.status, 200)
            if (i + 1) % (count // 10) == 0:
                sizes.append(self.resident())
        print("resident, at each tenth of %d jobs: %s MB" % (count, ", ".join("%.1f" % s for s in sizes)))
        self.assertLess(max(sizes[5:]), 1.02 * max(sizes[:5]) + 1)

    def resident(self):
        with open("/proc/%d/status" % self.server.process.pid) as status:
            return [int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS")][0]

    def timed(self):
        start = time.time()
        items = self.server.get("/ballast/v1/jobs").json["items"]
        took = time.time() - start
        self.assertGreaterEqual(len(items), 900)
        return took


if __name__ == "__main__":
    unittest.main()
