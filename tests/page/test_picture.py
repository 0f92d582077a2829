"""A picture by the page, in a real browser, with the embedded model."""
import json
import time
import unittest

from browser import Browser, Server, say_what_is_missing


class Picture(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.browser = Browser()

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.server.close()

    def setUp(self):
        self.browser.open(self.server)

    def tearDown(self):
        self.assertEqual(self.browser.faults(), [])

    def newest(self):
        item = self.server.get("/ballast/v1/history?limit=1").json["items"][0]
        return self.server.get("/ballast/v1/jobs/" + item["job"]).json

    def test_a_picture_and_its_line(self):
        b = self.browser
        b.until("return /about .* s, .* of .*/.test(document.querySelector('.cost').textContent)")
        b.fill("prompt", "a panda")
        b.fill("steps", 300)
        b.press("Make the picture")
        b.until("return /denoising \\d+ of 300/.test(document.querySelector('.progress-text')?.textContent || '')")
        b.until("return document.querySelector('.preview.drawn')")
        b.until("return document.querySelector('.line')", seconds=60)
        job = self.newest()
        self.assertEqual(b.text(".line"), job["ballast"]["line"])
        self.assertEqual(job["request"]["prompt"], "a panda")
        b.until("const i = document.querySelector('.frame > img'); return i.complete && i.naturalWidth === 128")
        # The bar's pieces fill it, and each says a sentence with this picture's numbers.
        stages = {s["name"]: s["seconds"] for s in job["report"]["batches"][0]["line"]["stages"]}
        pieces = b.js("return [...document.querySelectorAll('.piece')].map((p) => [p.dataset.stage, parseFloat(p.style.width)])")
        self.assertAlmostEqual(sum(width for _, width in pieces), 100, delta=1)
        self.assertEqual({name for name, _ in pieces}, {name for name, s in stages.items() if s > 0})
        b.js("document.querySelector('.piece[data-stage=pipeline]').focus()")
        self.assertRegex(b.text(".said"), r"^pipeline .* s: denoising: 30[01] passes of unet.*, 0\.\d+ s each\.$")

    def test_it_is_calm_and_alone(self):
        """No layout shift while a picture is made; no request leaves the origin; it loads fast."""
        b = self.browser
        b.driver.get_log("performance")
        b.open(self.server)
        b.picture("a castle", 20)
        time.sleep(0.3)
        self.assertEqual(b.js("return [shift, window.shifts || []]"), [0, []])
        urls = set()
        for entry in b.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                urls.add(message["params"]["request"]["url"])
        self.assertGreater(len(urls), 10)
        ours = "http://%s:%d/" % (self.server.host, self.server.port)
        self.assertEqual([u for u in urls if not u.startswith(ours) and not u.startswith("blob:" + ours)], [])

    def test_the_first_visit(self):
        """What the model's file recommends stands in the form; a word is enough for a picture."""
        b = self.browser
        server = Server()
        try:
            b.open(server)
            b.until("return document.querySelector('[name=cfg]').value === '5'")
            b.until("return document.querySelector('.welcome')?.textContent.includes('The small model that comes with Ballast')")
            b.press("a panda")
            b.press("Make the picture")
            b.until("return document.querySelector('.line')", seconds=60)
            job = server.get("/ballast/v1/jobs/" + server.get("/ballast/v1/history").json["items"][0]["job"]).json
            self.assertEqual((job["request"]["prompt"], job["request"]["cfg"]), ("a panda", 5.0))
            # What somebody chose stays.
            b.fill("cfg", 6)
            b.open(server)
            b.until("return document.querySelector('[name=model]').options[0].text.includes('ballast-mini')")
            self.assertEqual(b.js("return document.querySelector('[name=cfg]').value"), "6")
        finally:
            b.driver.get("about:blank")
            server.close()
            self.browser.open(self.server)

    def test_typing_waits_for_nobody(self):
        """A keystroke is seen at once, though the server takes its time."""
        b = self.browser
        b.driver.execute_cdp_cmd("Network.enable", {})
        b.driver.execute_cdp_cmd("Network.emulateNetworkConditions",
                                 {"offline": False, "latency": 3000, "downloadThroughput": -1, "uploadThroughput": -1})
        try:
            b.js("const a = document.querySelector('[name=prompt]'); a.value = ''; a.focus()")
            start = time.time()
            b.keys("a lighthouse")
            self.assertEqual(b.js("return document.querySelector('[name=prompt]').value"), "a lighthouse")
            self.assertLess(time.time() - start, 2.5)
        finally:
            b.driver.execute_cdp_cmd("Network.emulateNetworkConditions",
                                     {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})

    def test_a_refusal_marks_the_field(self):
        b = self.browser
        b.js("import('./page/form.js').then((form) => form.change({own: false, width: 8192, height: 8192}))")
        b.press("Make the picture")
        b.until("return document.querySelector('.toast')?.textContent.includes('--max-pixels')")
        b.until("return document.querySelector('[name=width][aria-invalid]')")
        b.forget(self.server)
        b.driver.get_log("browser")  # the refusal itself is logged by the browser


if __name__ == "__main__":
    say_what_is_missing()
    unittest.main()
