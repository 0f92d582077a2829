"""The other views, in a real browser: history, comparison, grid, memory, settings, and what they say under a picture."""
import base64
import os
import shutil
import struct
import tempfile
import time
import unittest
import xml.etree.ElementTree

from browser import Case, Keys, Server, say_what_is_missing
from rig import MODELS, PROGRAM
from test_adapters import write_lora

PLUGINS = os.path.join(os.path.dirname(os.path.abspath(PROGRAM)), "../plugins")
# What is saved is kept here, not downloaded.
SAVED = """window.saved = null; URL.createObjectURL = (blob) => { const r = new FileReader();
           r.onload = () => { saved = r.result.split(',')[1]; }; r.readAsDataURL(blob); return '#'; };
           HTMLAnchorElement.prototype.click = () => {};"""
# A picture to start from.
DOT = """const c = document.createElement('canvas'); c.width = c.height = 64; c.getContext('2d').fillRect(8, 8, 40, 40);
return new Promise((done) => c.toBlob(done)).then((dot) => import('./page/inputs.js').then((s) => s.takeFile(dot, 'dot.png')));"""


class Views(Case):
    flags = ("--offload", "balanced", "--fit-check", "off", "--low", "0", "--always", "unet")

    @classmethod
    def serve(cls):
        server = Server(*cls.flags)
        for i, prompt in enumerate(("a panda", "a castle", "a tiger", "a fox")):
            server.until(server.add(prompt=prompt, steps=1 + i, seed=i, width=128, height=128))
        return server

    def saved(self, label, within):
        self.browser.js(SAVED)
        self.browser.press(label, within)
        return base64.b64decode(self.browser.until("return saved"))

    def cells(self):
        return self.browser.js("return [...document.querySelectorAll('.cell')].sort((a, b) => new DOMMatrix(a.style.transform).m42 - "
                               "new DOMMatrix(b.style.transform).m42 || new DOMMatrix(a.style.transform).m41 - "
                               "new DOMMatrix(b.style.transform).m41).map((c) => c.getAttribute('aria-label').split(',')[0])")

    def until_cells(self, *prompts, seconds=20):
        end = time.time() + seconds
        while self.cells()[:len(prompts)] != list(prompts) and time.time() < end:
            time.sleep(0.05)
        self.assertEqual(self.cells()[:len(prompts)], list(prompts))

    def test_a_hint_is_applied_and_kept(self):
        """A budget so small that weights come in again and again: the hint names a larger one."""
        b = self.browser
        with self.another("--offload", "balanced", "--fit-check", "off", "--budget", "12M") as server:
            for _ in range(5):
                b.picture("a robot", 20)
                if b.all(".hint"):
                    break
            self.assertRegex(b.text(".hint span"), r"MB more budget .* ends waiting for weights")
            b.js("document.querySelector('.piece[data-stage=onload]').focus()")
            self.assertRegex(b.text(".said"), r"unet, \d+ MB, came in \d+ times")
            budgets = ["12M"]
            for _ in range(6):  # until nothing waits any more
                if "waiting for weights" not in b.text(".hint"):
                    break
                b.press("Apply from the next picture on")
                b.until("return /--budget \\S+ holds from the next picture on/.test([...document.querySelectorAll('.toast')].pop()?.textContent)")
                budgets.append(server.get("/ballast/v1/settings").json["budget"])
                self.assertNotEqual(budgets[-1], budgets[-2])
                b.picture("a robot", 20)
                b.until("return /--budget \\S+ saved (nothing this time|[\\d.]+ s); [\\d.]+ s were promised/.test(document.querySelector('.brought')?.textContent)")
            self.assertNotIn("waiting for weights", b.text(".hint"))
            b.picture("a robot", 4)  # another kind of picture is no measure
            self.assertFalse(b.all(".brought"))
            b.js("import('./page/stage.js').then((s) => s.choose(arguments[0]))", server.get("/ballast/v1/history?limit=2").json["items"][1]["job"])
            b.until("return document.querySelector('.brought')")
            b.press("Undo", ".brought")
            b.until("return [...document.querySelectorAll('.toast')].some((t) => t.textContent.includes('As it was before'))")
            self.assertEqual(server.get("/ballast/v1/settings").json["budget"], budgets[-2])

    def test_history(self):
        b = self.browser
        self.browser.go("history")
        b.until("return document.querySelectorAll('.cell').length >= 4")
        b.js("const s = document.getElementById('search'); s.value = 'a castle'; s.dispatchEvent(new Event('input'))")
        b.until("return document.querySelectorAll('.cell').length === 1")
        b.press(b.js("return document.querySelector('.cell').getAttribute('aria-label')"))
        b.until("return document.querySelector('.detail .line')")
        b.press("Its prompt", ".detail")
        b.until("return document.querySelector('[name=prompt]')?.value === 'a castle'")
        self.browser.go("history")
        b.js("const s = document.getElementById('search'); s.value = 'no such thing'; s.dispatchEvent(new Event('input'))")
        b.until("return document.querySelector('.scroller').textContent.includes('No picture fits that.')")

    def test_deleting_can_be_undone(self):
        b = self.browser
        job = self.server.add(prompt="a snail")
        self.server.until(job)
        self.browser.go("history")
        self.until_cells("a snail")
        b.js("document.querySelector('.cell[aria-label^=\"a snail\"]').click()")
        b.until("return document.querySelector('.detail .line')")
        b.press("Delete", ".detail")
        b.until("return !document.querySelector('.cell[aria-label^=\"a snail\"]')")
        b.press("Undo", ".toast")
        self.until_cells("a snail")
        time.sleep(0.2)
        self.assertEqual(self.server.get("/ballast/v1/jobs/" + job).status, 200)
        # One of several alone.
        several = self.server.add(prompt="three ants", n_iter=3)
        self.server.until(several)
        self.until_cells("three ants", "three ants", "three ants", "a snail")
        b.js("document.querySelectorAll('.cell[aria-label^=\"three ants\"]')[1].click()")
        b.press("Delete", ".detail")
        self.until_cells("three ants", "three ants", "a snail")
        b.js("document.querySelector('.cell[aria-label^=\"three ants\"]').click()")
        b.until("return document.querySelector('.detail .line')")
        b.press("Delete all 3", ".detail")
        self.until_cells("a snail")
        b.press("Undo", ".toast:last-child")
        self.until_cells("three ants", "three ants", "a snail", seconds=4)  # not the one that was deleted before
        b.js("document.querySelector('.cell[aria-label^=\"a snail\"]').focus()")
        b.keys(Keys.DELETE)
        b.until("return !document.querySelector('.cell[aria-label^=\"a snail\"]')")
        b.open(self.server)  # leaving is deciding
        end = time.time() + 10
        while self.server.get("/ballast/v1/jobs/" + job).status != 404 and time.time() < end:
            time.sleep(0.1)
        self.assertEqual(self.server.get("/ballast/v1/jobs/" + job).status, 404)
        self.assertEqual(len(self.server.get("/ballast/v1/jobs/" + several).json["images"]), 2)

    def test_keys_in_history_and_comparison(self):
        b = self.browser
        b.keys("/") if not b.js("return /INPUT|TEXTAREA/.test(document.activeElement.tagName)") else self.browser.go("history")
        b.until("return document.activeElement.id === 'search'")
        b.until("return document.querySelectorAll('.cell').length >= 4")
        b.js("document.querySelector('.cell[tabindex=\"0\"]').focus()")
        first = b.js("return document.activeElement.firstChild.src")
        b.keys(Keys.ARROW_RIGHT)
        second = b.js("return document.activeElement.firstChild.src")
        self.assertNotEqual(first, second)
        b.keys("c")
        b.until("return document.querySelector('.told').textContent.startsWith('Choose the picture')")
        b.keys(Keys.ARROW_LEFT, Keys.ENTER)
        b.until("return document.querySelector('dialog.compare[open]')")
        self.assertEqual(len(b.all("dialog .bar")), 2)
        self.assertTrue(b.all("dialog tbody tr") or "the same settings" in b.text("dialog"))
        b.keys(Keys.ARROW_RIGHT)
        self.assertIn("50.5%", b.js("return document.querySelector('.both img:nth-of-type(2)').style.clipPath"))
        b.keys(Keys.ESCAPE)
        b.until("return !document.querySelector('dialog[open]')")

    def test_a_grid(self):
        b = self.browser
        b.fill("prompt", "a cat")
        self.browser.go("grid")
        set_value = "const e = document.querySelector(`[name=\"${arguments[0]}\"]`); e.value = arguments[1]; for (const k of ['input', 'change']) e.dispatchEvent(new Event(k))"
        b.js(set_value, "x-values", "2, 3")
        for axis, why in (("steps", "The same varies across and down."), ("lora", "No adapter stands in the prompt."), ("words", "“castle” does not stand in the prompt")):
            b.js(set_value, "y", axis)
            b.until("return document.querySelector('.gridview .cost').textContent.startsWith(arguments[0])", why)
            self.assertTrue(b.js("return document.querySelector('.gridview .main').disabled"))
        b.js(set_value, "y-values", "cat, dog")
        b.until("return /^4 pictures, about .* s, no reload$/.test(document.querySelector('.gridview .cost').textContent)")
        b.press("Make the grid")
        b.open(self.server, "#grid")  # a reload in between
        b.until("return document.querySelector('.gridview')?.textContent.includes('All 4 are there.')", seconds=60)
        items = self.server.get("/ballast/v1/history?limit=4").json["items"]
        self.assertEqual(sorted((i["parameters"].split("\n")[0], i["parameters"].split("Steps: ")[1][0]) for i in items),
                         [("a cat", "2"), ("a cat", "3"), ("a dog", "2"), ("a dog", "3")])
        self.assertEqual(len({i["seed"] for i in items}), 1)
        b.until("return [...document.querySelectorAll('table.grid img')].filter((i) => i.complete && i.naturalWidth).length === 4")
        lines = self.saved("Save as rows", ".gridview").decode().split("\n")
        self.assertEqual([line.split(",")[:2] for line in lines[:3]], [["steps", "words"], ["2", "cat"], ["3", "cat"]])
        self.assertEqual([line.split(",")[4] for line in lines[1:5]], ["done"] * 4)
        picture = self.saved("Save as one picture", ".gridview")
        self.assertEqual(struct.unpack(">II", picture[16:24]), (160 + 2 * 128, 40 + 2 * 128))
        b.js("document.querySelectorAll('table.grid button')[1].click()")
        b.until("return document.querySelector('.below .facts')?.textContent.includes('3 steps')")

    def test_a_grid_goes_on(self):
        """A reload in the midst of sending: the rest is sent then, with the picture that it starts from."""
        b = self.browser
        b.js(DOT)
        b.fill("prompt", "a bear")
        b.go("grid")
        b.js("const e = document.querySelector('[name=\"x-values\"]'); e.value = '1, 2, 3, 4'; e.dispatchEvent(new Event('input'))")
        b.until("return /^4 pictures, about/.test(document.querySelector('.gridview .cost').textContent)")
        b.js("""const real = fetch; let sent = 0; window.fetch = (url, o) => o && o.method === 'POST' && /jobs$/.test(url) && ++sent > 1
                ? (window.held = true, new Promise(() => {})) : real(url, o);""")
        b.press("Make the grid")
        b.until("return window.held")
        b.open(self.server, "#grid")
        b.until("return document.querySelector('.gridview')?.textContent.includes('All 4 are there.')", seconds=60)
        for item in self.server.get("/ballast/v1/history?limit=4").json["items"]:
            self.assertIn("a bear", item["parameters"])
            self.assertIn("Denoising strength", item["parameters"])

    def test_a_grid_of_models_and_adapters(self):
        """Each model is loaded once; the strength is that of the adapter in the prompt."""
        b = self.browser
        mini = os.path.join(MODELS, "ballast-mini.safetensors")
        with tempfile.TemporaryDirectory() as models, tempfile.TemporaryDirectory() as adapters:
            for name in ("one", "two"):
                shutil.copyfile(mini, os.path.join(models, name + ".safetensors"))
            write_lora(os.path.join(adapters, "style.safetensors"), mini)
            with self.another("--lora-dir", adapters, models=models) as server:
                for name, value in (("prompt", "a cat <lora:style:1>"), ("steps", 1)):
                    b.fill(name, value)
                b.go("grid")
                choose = "const e = document.querySelector(`[name=\"${arguments[0]}\"]`); e.value = arguments[1]; for (const k of ['input', 'change']) e.dispatchEvent(new Event(k))"
                b.js(choose, "x", "lora")
                b.js(choose, "x-values", "0, 0.5")
                b.js(choose, "y", "model")
                self.assertEqual(b.js("return document.querySelector('[name=y-values]').value"), "one.safetensors, two.safetensors")
                b.until("return /^4 pictures, about .* s, 2 models to load$/.test(document.querySelector('.gridview .cost').textContent)")
                b.press("Make the grid")
                b.until("return document.querySelector('.gridview')?.textContent.includes('All 4 are there.')", seconds=60)
                items = server.get("/ballast/v1/history").json["items"][::-1]
                made = [(server.get("/ballast/v1/jobs/" + i["job"]).json["report"]["model"], i["parameters"].split("\n")[0]) for i in items]
                self.assertEqual(made, [(m, "a cat <lora:style:%s>" % w) for m in ("one", "two") for w in ("0", "0.5")])

    @unittest.skipUnless(os.path.exists(os.path.join(PLUGINS, "ballast-fakecuda.so")), "the card that is none is not built")
    def test_overlap(self):
        """What a card copies while it computes lies in a lane of its own, and the rest fills the clock."""
        b = self.browser
        with self.another("--device", "fakecuda:1", "--dtype", "f32", "--budget", "42M", env={"BALLAST_PLUGINS": PLUGINS}) as server:
            job = server.until(server.add(steps=1))
            self.assertEqual(job["state"], "done", job["error"])
            b.until("return document.querySelector('.bar[data-lanes=\"2\"]')")
            line = job["report"]["batches"][0]["line"]
            copies = {s["name"]: s["seconds"] for s in line["stages"] if s["name"] in ("onload", "load") and s["seconds"] > 0}
            pieces = b.js("return [...document.querySelectorAll('.piece')].map((p) => [p.dataset.stage, p.dataset.lane, parseFloat(p.style.width)])")
            self.assertEqual({name for name, lane, _ in pieces if lane == "1"}, set(copies))
            for name, lane, width in pieces:
                if lane == "1":
                    self.assertAlmostEqual(width, 100 * copies[name] / line["wall_seconds"], 3)
            self.assertAlmostEqual(sum(width for _, lane, width in pieces if lane == "0"), 100, 2)
            b.js("document.querySelector('.piece[data-lane=\"1\"]').focus()")
            self.assertIn("ran beside the computing", b.text(".said"))

    def test_memory(self):
        b = self.browser
        self.browser.go("memory")
        b.until("return document.querySelectorAll('.memory .chart').length >= 2 && document.querySelector('.strip rect')")
        b.js("document.querySelector('.memory rect.m3').focus()")
        self.assertRegex(b.text(".memory .said"), r"MB of unet on the device in \d+ of \d+ blocks")
        # Who points into it is told the block; Up goes to the next.
        point = ("const n = document.querySelector('.memory rect.m3'), r = n.getBoundingClientRect(); n.dispatchEvent(new PointerEvent('pointermove', "
                 "{bubbles: true, clientX: r.x + 1, clientY: r.bottom - r.height * arguments[0]}))")
        seen = set()
        for share in (0.1, 0.5, 0.9):
            b.js(point, share)
            self.assertRegex(b.text(".memory .said"), r"^[\w ]+: unet, [\w.]+, [\d.]+ [kM]B: block \d+ of \d+, .*\.$")
            seen.add(b.text(".memory .said"))
        self.assertEqual(len(seen), 3)
        b.keys(Keys.ARROW_DOWN)
        self.assertNotIn(b.text(".memory .said"), seen)
        b.js("document.querySelector('.strip rect').dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))")
        self.assertRegex(b.text(".memory section:nth-child(2) .said"), r", .+: .* at ")
        handle = "const r = document.querySelector('.under-chart input'); r.value = Number(r.min) + (r.max - r.min) * arguments[0]; r.dispatchEvent(new Event('input')); return r.value"
        budget = float(b.js(handle, 0.1))
        b.until("return /^With .* it would take about .* s\\.$/.test(document.querySelector('.memory section:nth-child(3) .said').textContent)")
        b.until("return document.querySelectorAll('.memory .chart').length === 3 && document.querySelector('.memory section:nth-child(3) .chart .budget')")
        self.assertGreater(budget, 1e6)
        # No words lie on the line of the bound.
        for width in (360, 1440):
            b.size(width, 900)
            b.settle()
            self.assertEqual(b.js("""return [...document.querySelectorAll('.chart:has(line.bound)')].flatMap((chart) => {
                const line = chart.querySelector('line.bound').getBoundingClientRect();
                return [...chart.querySelectorAll('text.budget')].map((t) => t.getBoundingClientRect())
                  .filter((r) => r.left < line.right && line.left < r.right).map((r) => [r.left, line.left, r.right]); })"""), [])
        self.assertTrue(b.js("return document.querySelector('.chart:has(line.bound) text.budget') !== null"))
        for words, told in (("the model", r"All weights of ballast-mini take 2\d MB\. .* about [\d.]+ s\."), ("nothing moves", "nothing has to move")):
            b.js("[...document.querySelectorAll('.memory section:nth-child(3) text')].find((e) => e.textContent === arguments[0]).focus()", words)
            self.assertRegex(b.text(".memory section:nth-child(3) .said"), told)
        self.assertIn("Cards of 4 GB and more lie beyond the right edge", b.text(".memory section:nth-child(3)"))
        # With a budget that is too small, too: that is said, and the curve shows which would do.
        self.server.post("/ballast/v1/settings", {"budget": "1M"})
        try:
            b.open(self.server, "#memory")
            b.until("return /too small/.test(document.querySelector('.memory section:nth-child(3) .warning')?.textContent) && "
                    "document.querySelector('.memory section:nth-child(3) .curve')")
        finally:
            self.server.post("/ballast/v1/settings", {"budget": ""})
        b.driver.get_log("browser")  # the refusals
        b.open(self.server, "#memory")
        b.until("return document.querySelectorAll('.memory .chart').length >= 2")
        # The picture to start from counts: it is encoded first.
        b.js("""window.asked = []; const fetch_ = window.fetch;
             window.fetch = (url, o) => { if (/plan.curve/.test(url)) asked.push(JSON.parse(o.body).init_images?.length); return fetch_(url, o); };""")
        b.js(DOT)
        b.go("picture")
        b.go("memory")
        b.until("return asked.length")
        self.assertEqual(b.js("return asked"), [1])
        b.go("picture")
        b.press("Remove", ".start")
        b.go("memory")
        b.until("return document.querySelectorAll('.memory .chart').length >= 2")
        # What is seen can be kept: a drawing that needs no style sheet.
        drawing = xml.etree.ElementTree.fromstring(self.saved("Save as SVG", ".memory section:first-child"))
        parts = drawing.findall("{http://www.w3.org/2000/svg}rect")
        self.assertGreater(len(parts), 3)
        self.assertTrue(all(p.get("fill").startswith("rgb") for p in parts))

    def test_settings(self):
        b = self.browser
        self.browser.go("settings")
        b.until("return /\\d s, .* MB/.test(document.querySelector('[data-mode=sequential]')?.textContent)")
        self.assertIn("Set by the command line when the server was started.", b.text(".settings"))
        b.js("document.querySelector('[name=offload][value=sequential]').click()")
        b.until("return document.querySelector('.settings')?.textContent.includes('Changed here; the server was started with balanced')")
        self.assertEqual(self.server.get("/ballast/v1/settings").json["offload"], "sequential")
        b.press("Back to that")
        b.until("return document.querySelector('[name=offload][value=balanced]').checked")
        # A list that the server was started with can be emptied, and is then its own.
        unet = "const s = [...document.querySelectorAll('.inner')].find((f) => f.textContent.startsWith('Always let go')); return s?.querySelectorAll('input')[1]"
        b.until(unet + ".checked")
        b.js(unet.replace("return ", "") + ".click()")
        b.until(unet + "?.checked === false")
        self.assertEqual(self.server.get("/ballast/v1/settings").json["always"], "none")
        b.press("Back to that", ".inner")
        b.until(unet + "?.checked")
        b.js("const i = document.querySelector('.settings [name=budget]'); i.value = 'banana'; i.dispatchEvent(new Event('change'))")
        b.until("return [...document.querySelectorAll('.toast')].some((t) => t.textContent.includes('budget'))")
        b.driver.get_log("browser")  # the refusal


if __name__ == "__main__":
    say_what_is_missing()
    unittest.main()
