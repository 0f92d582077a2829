"""The other views, in a real browser: history, comparison, grid, memory, settings, and what they say under a picture."""
import time
import unittest

from browser import Browser, Keys, Server, say_what_is_missing


class Views(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--offload", "balanced", "--fit-check", "off", "--low", "0", "--always", "unet")
        for i, prompt in enumerate(("a panda", "a castle", "a tiger", "a fox")):
            cls.server.until(cls.server.add(prompt=prompt, steps=1 + i, seed=i, width=128, height=128))
        cls.browser = Browser()

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.server.close()

    def setUp(self):
        self.browser.forget(self.server)
        self.browser.open(self.server)

    def tearDown(self):
        self.assertEqual(self.browser.faults(), [])

    def go(self, view):
        self.browser.js("location.hash = '#' + arguments[0]", view)

    def cells(self):
        return self.browser.js("return [...document.querySelectorAll('.cell')].sort((a, b) => new DOMMatrix(a.style.transform).m42 - "
                               "new DOMMatrix(b.style.transform).m42 || new DOMMatrix(a.style.transform).m41 - "
                               "new DOMMatrix(b.style.transform).m41).map((c) => c.getAttribute('aria-label').split(',')[0])")

    def until_cells(self, *prompts):
        end = time.time() + 20
        while self.cells()[:len(prompts)] != list(prompts) and time.time() < end:
            time.sleep(0.05)
        self.assertEqual(self.cells()[:len(prompts)], list(prompts))

    def test_a_hint_is_applied_and_kept(self):
        """A budget so small that weights come in again and again: the hint names a larger one."""
        b = self.browser
        server = Server("--offload", "balanced", "--fit-check", "off", "--budget", "12M")
        try:
            b.open(server)
            for _ in range(5):
                b.picture("a robot", 20)
                if b.all(".hint"):
                    break
            self.assertRegex(b.text(".hint span"), r"MB more budget .* ends waiting for weights")
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
        finally:
            b.driver.get("about:blank")
            server.close()
            b.open(self.server)

    def test_history(self):
        b = self.browser
        self.go("history")
        b.until("return document.querySelectorAll('.cell').length >= 4")
        b.js("const s = document.getElementById('search'); s.value = 'a castle'; s.dispatchEvent(new Event('input'))")
        b.until("return document.querySelectorAll('.cell').length === 1")
        b.press(b.js("return document.querySelector('.cell').getAttribute('aria-label')"))
        b.until("return document.querySelector('.detail .line')")
        b.press("Its prompt", ".detail")
        b.until("return document.querySelector('[name=prompt]')?.value === 'a castle'")
        self.go("history")
        b.js("const s = document.getElementById('search'); s.value = 'no such thing'; s.dispatchEvent(new Event('input'))")
        b.until("return document.querySelector('.scroller').textContent.includes('No picture fits that.')")

    def test_deleting_can_be_undone(self):
        b = self.browser
        job = self.server.add(prompt="a snail")
        self.server.until(job)
        self.go("history")
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
        self.until_cells("three ants", "three ants", "a snail")
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
        b.keys("/") if not b.js("return /INPUT|TEXTAREA/.test(document.activeElement.tagName)") else self.go("history")
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
        self.go("grid")
        set_value = "const e = document.querySelector(`[name=\"${arguments[0]}\"]`); e.value = arguments[1]; for (const k of ['input', 'change']) e.dispatchEvent(new Event(k))"
        b.js(set_value, "x-values", "2, 3")
        b.js(set_value, "y", "words")
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
        self.assertEqual(b.js("return import('./page/grid.js').then((m) => m.rows().trim().split('\\n').length)"), 5)

    def test_memory(self):
        b = self.browser
        self.go("memory")
        b.until("return document.querySelectorAll('.memory .chart').length >= 2 && document.querySelector('.strip rect')")
        b.js("document.querySelector('.memory rect.m3').focus()")
        self.assertRegex(b.text(".memory .said"), r"MB of unet")
        b.js("document.querySelector('.strip rect').dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))")
        self.assertRegex(b.text(".memory section:nth-child(2) .said"), r", .+: .* at ")
        handle = "const r = document.querySelector('.under-chart input'); r.value = Number(r.min) + (r.max - r.min) * arguments[0]; r.dispatchEvent(new Event('input')); return r.value"
        budget = float(b.js(handle, 0.1))
        b.until("return /^With .* it would take about .* s\\.$/.test(document.querySelector('.memory section:nth-child(3) .said').textContent)")
        b.until("return document.querySelectorAll('.memory .chart').length === 3 && document.querySelector('.memory section:nth-child(3) .chart .budget')")
        self.assertGreater(budget, 1e6)

    def test_settings(self):
        b = self.browser
        self.go("settings")
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
