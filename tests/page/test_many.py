"""Five thousand pictures in the history: it scrolls, and few of them are elements. And how long the page takes to come."""
import os
import shutil
import sqlite3
import tempfile
import time
import unittest

from browser import Case, Server, say_what_is_missing

COUNT = 5000
FRAMES = """const done = arguments[0], s = document.querySelector('.scroller'), gaps = []; let last = 0, n = 0, most = 0;
const step = (t) => { if (last) gaps.push(t - last); last = t; s.scrollTop += 90; most = Math.max(most, document.querySelectorAll('.cell').length);
  if (++n < 240) requestAnimationFrame(step); else { gaps.sort((a, b) => a - b); done([gaps[120], gaps[228], most]); } };
requestAnimationFrame(step);"""


class Many(Case):
    @classmethod
    def serve(cls):
        cls.folder = tempfile.mkdtemp(prefix="ballast-many-")
        server = Server(data=cls.folder)
        job = server.until(server.add())
        server.close()
        db = sqlite3.connect(os.path.join(cls.folder, "ballast.db"))
        columns = [row[1] for row in db.execute("PRAGMA table_info(jobs)") if row[1] not in ("n", "id", "idempotency")]
        pictures = [row[1] for row in db.execute("PRAGMA table_info(pictures)") if row[1] not in ("n", "job")]
        for i in range(COUNT - 1):
            db.execute("INSERT INTO jobs(id, %s) SELECT ?, %s FROM jobs WHERE id = ?" % (", ".join(columns), ", ".join(columns)),
                       ("copy%d" % i, job["id"]))
            db.execute("INSERT INTO pictures(job, %s) SELECT ?, %s FROM pictures WHERE job = ?" % (", ".join(pictures), ", ".join(pictures)),
                       ("copy%d" % i, job["id"]))
        db.commit()
        db.close()
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        return Server(data=cls.folder)

    def spent(self):
        """Milliseconds that the page's main thread has computed: however busy the machine is."""
        self.browser.driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        metrics = self.browser.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return 1000 * {m["name"]: m["value"] for m in metrics}["TaskDuration"]

    def test_scrolling(self):
        b = self.browser
        b.open(self.server, "#history")
        b.until("return document.querySelectorAll('.cell').length > 10")
        before = self.spent()
        middle, late, most = b.driver.execute_async_script(FRAMES)
        each = (self.spent() - before) / 240
        print("frames while scrolling: median %.1f ms, 95%% under %.1f ms, %.1f ms of the main thread; at most %d cells" % (middle, late, each, most))
        self.assertLess(most, 150)
        self.assertLess(each, 16.7)  # 60 a second on an idle machine; tests run on busy ones
        end = time.time() + 60
        while time.time() < end:  # to the very end
            at = b.js("const s = document.querySelector('.scroller'); s.scrollTop = s.scrollHeight; return document.querySelector('.sheet').offsetHeight")
            time.sleep(0.3)
            if at == b.js("return document.querySelector('.sheet').offsetHeight") and at > COUNT / 10 * 120:
                break
        columns = b.js("return new Set([...document.querySelectorAll('.cell')].map((c) => new DOMMatrix(c.style.transform).m41)).size")
        side = b.js("return document.querySelector('.cell').offsetHeight + 6")
        self.assertEqual(round(b.js("return document.querySelector('.sheet').offsetHeight") / side), -(-COUNT // columns))

    def test_it_comes_fast(self):
        b = self.browser
        times = []
        for _ in range(5):
            b.driver.get("about:blank")
            b.open(self.server)
            times.append(b.js("const n = performance.getEntriesByType('navigation')[0]; return performance.getEntriesByName('first-contentful-paint')[0]?.startTime || n.domContentLoadedEventEnd"))
        print("first paint after %s ms" % ", ".join("%.0f" % t for t in times))
        self.assertLess(sorted(times)[2], 1000)  # 150 on an idle machine


if __name__ == "__main__":
    say_what_is_missing()
    unittest.main()
