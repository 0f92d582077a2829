"""A picture by the page, in a real browser, with the embedded model."""
import base64
import json
import signal
import time
import unittest

from browser import Case, Keys, say_what_is_missing
from rig import png


class Picture(Case):
    network = True

    def newest(self):
        item = self.server.get("/ballast/v1/history?limit=1").json["items"][0]
        return self.server.get("/ballast/v1/jobs/" + item["job"]).json

    def test_a_picture_and_its_line(self):
        b = self.browser
        b.until("return /about .* s, .* of .*/.test(document.querySelector('.cost').textContent)")
        b.fill("prompt", "a panda")
        b.fill("steps", 40)
        b.press("Make the picture")
        b.until("return /denoising \\d+ of 40/.test(document.querySelector('.progress-text')?.textContent || '')")
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
        for field, told in (("Time:", "by the clock"), ("CPU memory", "were used at most"), ("RAM", "are this server’s"), ("total", "the sum of all"), ("decode", "pixels"),
                            ("first load", "came for the first time"), ("swap", "came back"), ("steady", "the passes")):
            b.js("[...document.querySelectorAll('.line button')].find((e) => e.textContent.startsWith(arguments[0])).focus()", field)
            self.assertIn(told, b.text(".said"))
        b.js("document.querySelector('.piece[data-stage=pipeline]').focus()")
        self.assertRegex(b.text(".said"), r"^pipeline .* s: denoising: 4[01] passes of unet.*, 0\.\d+ s each\.$")

    def test_a_prompt_that_is_known(self):
        """Where no text encoder ran, the line's field says why, to a pointer and to the keyboard."""
        b = self.browser
        b.picture("a walrus that nobody drew", 1)
        b.js("document.querySelector('.piece[data-stage=prompt]').focus()")
        self.assertIn("reading the prompt: text_encoder.", b.text(".said"))
        b.picture("a walrus that nobody drew", 1)
        b.js("[...document.querySelectorAll('.line button')].find((e) => e.textContent.startsWith('prompt ')).focus()")
        self.assertRegex(b.text(".said"), r"^prompt \d+\.\d\d s: reading the prompt. All [24] pieces of 75 tokens were known from before, so no text encoder ran.$")

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
        with self.another() as server:
            b.until("return document.querySelector('[name=cfg]').value === '5'")
            b.until("return document.querySelector('.welcome')?.textContent.includes('The small model that comes with Ballast')")
            b.press("a panda")
            b.fill("steps", 3)
            b.press("Make the picture")
            b.until("return document.querySelector('.line')", seconds=60)
            job = server.get("/ballast/v1/jobs/" + server.get("/ballast/v1/history").json["items"][0]["job"]).json
            self.assertEqual((job["request"]["prompt"], job["request"]["cfg"]), ("a panda", 5.0))
            # What the family can do nothing with is not asked for.
            of = ("return import('./page/server.js').then((s) => { const l = s.lists.get(); s.lists.set({...l, models: l.models.map((m) => ({...m, recommended: {...m.recommended, sampler: arguments[0]}}))});"
                  " return ['sampler', 'schedule'].map((n) => document.querySelector(`#form [name=${n}]`).value); })")
            self.assertEqual(b.js(of, "Euler"), ["Euler", ""])
            self.assertEqual(b.js(of, None), ["DPM++ 2M", "karras"])
            # What the network is not told of is not asked for; sides are multiples of the model's number.
            told = ("return import('./page/server.js').then((s) => { const l = s.lists.get(); s.lists.set({...l, models: l.models.map((m) => ({...m, multiple: arguments[1], recommended: {...m.recommended, guidance: arguments[0]}}))});"
                    " const [g, w] = ['guidance', 'width'].map((n) => document.querySelector(`#form [name=${n}]`)); return [g.closest('label').hidden, g.value, w.step]; })")
            self.assertEqual(b.js(told, 2.5, 16), [False, "2.5", "16"])
            self.assertEqual(b.js(told, None, 8), [True, "3.5", "8"])
            # What somebody chose stays.
            b.fill("cfg", 6)
            b.open(server)
            b.until("return document.querySelector('[name=model]').options[0].text.includes('ballast-mini')")
            self.assertEqual(b.js("return document.querySelector('[name=cfg]').value"), "6")

    def test_typing_waits_for_nobody(self):
        """A keystroke is seen in the next frame, though the server is stopped in the middle of its work."""
        b = self.browser
        b.js("const a = document.querySelector('[name=prompt]'); a.focus(); window.late = [];"
             "a.addEventListener('keydown', (e) => requestAnimationFrame(() => late.push(performance.now() - e.timeStamp)))")
        self.server.process.send_signal(signal.SIGSTOP)
        try:
            b.keys("a lighthouse")
            b.until("return late.length === 12", seconds=5)
            self.assertEqual(b.js("return document.querySelector('[name=prompt]').value"), "a lighthouse")
            self.assertLess(sorted(b.js("return late"))[6], 100)
        finally:
            self.server.process.send_signal(signal.SIGCONT)

    def test_what_was_kept_is_looked_at(self):
        """What the browser remembers may be of another version, or of nobody."""
        b = self.browser
        b.driver.get("http://%s:%d/page/icon.svg" % (self.server.host, self.server.port))
        for key, value in (("form", '{"steps": "x", "prompt": 5, "cfg": 4}'), ("grid", '{"x": "nope"}'), ("prompts", "{}"), ("applied", "[]"), ("advice", "7"), ("start", "3")):
            b.js("localStorage.setItem('ballast.' + arguments[0], arguments[1])", key, value)
        b.driver.get_log("browser")  # of that page, which has no icon
        b.open(self.server)
        b.until("return /about/.test(document.querySelector('.cost').textContent)")
        self.assertEqual(b.js("return ['prompt', 'steps', 'cfg'].map((n) => document.querySelector(`#form [name=${n}]`).value)"), ["", "20", "4"])
        b.go("grid")
        b.until("return document.querySelector('.gridview')?.textContent.includes('A grid shows how')")

    def test_sizes_have_prices(self):
        """Beside each, for who looks there; none that is old."""
        b = self.browser
        texts = "return [...document.querySelector('[name=size]').options].map((o) => o.text)"
        b.js("document.querySelector('[name=size]').dispatchEvent(new Event('focus'))")
        priced = b.until("const t = (() => { %s })(); return t.slice(0, -1).every((x) => / · ([\\d.]+ .*, .*B|cannot be made)$/.test(x)) && t" % texts)
        self.assertRegex(priced[0], "^The model’s own · .* s, .* MB$")
        b.fill("steps", 7)
        self.assertEqual([x for x in b.js(texts) if "·" in x], [])

    def test_numbers_that_cannot_be(self):
        """The nearest that can be is taken, and said; not what stood there while it was written."""
        b = self.browser
        for name, typed, becomes in (("steps", "1000", 500), ("steps", "0", 1), ("steps", "1,000", 500), ("cfg", "7,5", 7.5), ("cfg", "99", 30), ("count", "65", 64), ("steps", "2.4", 2),
                                     ("steps", "", 2), ("count", "1", 1)):
            node = b.one("#form [name=%s]" % name)
            node.click()
            b.chord("a")
            b.keys(Keys.DELETE, typed, Keys.TAB)
            got = b.js("return import('./page/inputs.js').then((form) => form.values.get()[arguments[0]])", name)
            self.assertEqual((float(node.get_property("value")), got), (becomes, becomes), (name, typed))
        self.assertIn("Steps: from 1 to 500. 1000 became 500.", b.js("return [...document.querySelectorAll('.toast')].map((t) => t.textContent)"))
        b.one("#form [name=steps]").click()
        b.chord("a")
        b.keys("0")
        b.chord(Keys.ENTER)  # it is not left before
        b.until("return document.querySelector('.facts')?.textContent.includes('1 steps')")

    def test_seeds(self):
        """Another one each time, unless it is locked; that of a picture can be taken."""
        b = self.browser
        seed = "return document.querySelector('[name=seed]').value"
        b.picture("a cat", 1)
        self.assertEqual(b.js(seed), "")
        b.press("Lock")
        b.picture("a cat", 1)
        locked = str(self.newest()["images"][0]["seed"])
        b.until(seed + " === arguments[0]", locked)
        b.picture("a dog", 1)
        self.assertEqual(str(self.newest()["images"][0]["seed"]), locked)
        b.press("Random")
        self.assertEqual((b.js(seed), b.js("return document.querySelector('.seed button').getAttribute('aria-pressed')")), ("", "false"))
        b.picture("a dog", 1)
        self.assertNotEqual(str(self.newest()["images"][0]["seed"]), locked)
        b.press("Its seed")
        self.assertEqual(b.js(seed), str(self.newest()["images"][0]["seed"]))

    def test_a_second_pass(self):
        b = self.browser
        b.fill("prompt", "a tower")
        b.js("document.querySelector('[name=hires]').click()")
        for name, value in (("scale", 2), ("hiresSteps", 1), ("upscaler", "Latent"), ("strength", 0.5)):
            b.fill(name, value)
        b.picture("a tower", 2)
        request = self.newest()["request"]
        self.assertEqual([request[k] for k in ("hires_scale", "hires_steps", "hires_upscaler", "hires_strength")], [2, 1, "Latent", 0.5])
        self.assertEqual(self.newest()["images"][0]["width"], 256)
        # And back into the form from there.
        b.js("document.querySelector('[name=hires]').click()")
        b.press("Its settings")
        self.assertTrue(b.js("return document.querySelector('[name=hires]').checked && document.querySelector('[name=scale]').value === '2'"))

    def test_start_pictures(self):
        """One that is pasted, and one of the history."""
        b = self.browser
        b.js("""const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0)), t = new DataTransfer();
            t.items.add(new File([bytes], 'image.png', {type: 'image/png'}));
            document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: t, bubbles: true, cancelable: true}));""",
             base64.b64encode(png(96, 64)).decode())
        b.until("return document.querySelector('.drop').textContent.includes('image.png')")
        b.picture("a tiger", 2, strength=0.4)
        self.assertEqual(self.newest()["request"]["strength"], 0.4)
        # It is there after a reload, and what is of another shape is fitted as was asked for.
        b.fill("fit", "2")
        b.js("import('./page/inputs.js').then((form) => form.change({own: false, width: 64, height: 64}))")
        b.open(self.server)
        b.until("return document.querySelector('.drop').textContent.includes('image.png')")
        b.picture("a tiger", 1)
        job = self.newest()
        self.assertEqual((job["request"]["fit"], job["images"][0]["width"], job["images"][0]["height"]), ("pad", 64, 64))
        self.assertEqual(b.js("return [shift, window.shifts || []]"), [0, []])
        b.press("Remove", ".start")
        b.until("return document.querySelector('.drop').textContent.startsWith('Drop, paste')")
        b.go("history")
        b.until("return document.querySelector('.cell')")
        b.js("document.querySelector('.cell').click()")
        b.press("Start from it", ".detail")
        b.go("picture")
        b.until("return /ballast-\\d+\\.png/.test(document.querySelector('.drop').textContent)")
        b.picture("a lion", 2)
        self.assertIn("Denoising strength: 0.4", self.newest()["images"][0]["parameters"])

    def test_it_is_still_for_who_asks(self):
        """Reduced motion: nothing moves by itself, not even the progress."""
        b = self.browser
        b.colours(False, calm=True)
        try:
            job = self.server.add(steps=60, width=128, height=128)
            b.until("return document.querySelector('progress')?.value > 0.1")
            for _ in range(5):
                self.assertEqual(b.js("return document.getAnimations().length"), 0)
                b.settle()
            self.server.ask("DELETE", "/ballast/v1/jobs/" + job)
            self.server.until(job)
        finally:
            b.colours(False)

    def test_a_refusal_marks_the_field(self):
        b = self.browser
        b.js("import('./page/inputs.js').then((form) => form.change({own: false, width: 8192, height: 8192}))")
        b.press("Make the picture")
        b.until("return document.querySelector('.toast')?.textContent.includes('--max-pixels')")
        b.until("return document.querySelector('[name=width][aria-invalid]')")
        self.assertEqual(b.all(".toast button"), [])  # the same again would be refused again
        b.js("import('./page/inputs.js').then((form) => form.change({own: true, width: 64, height: 64}))")
        b.fill("seed", "abc")
        b.until("return document.querySelector('.cost').textContent.includes('is not a seed')")
        b.press("Make the picture")
        b.until("return document.querySelector('[name=seed][aria-invalid]')")
        b.fill("seed", "-1")  # as others write it: any
        # Numbers that no browser would take for valid, in fields that are not seen any more, are in nobody's way.
        b.js("import('./page/inputs.js').then((form) => form.change({own: true, width: 100, scale: 1.33}))")
        b.picture("a panda", 1)
        self.assertEqual(b.all("[aria-invalid]"), [])
        b.forget(self.server)
        b.driver.get_log("browser")  # the refusal itself is logged by the browser


if __name__ == "__main__":
    say_what_is_missing()
    unittest.main()
