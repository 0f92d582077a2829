"""The page beside what happens around it: reload, a lost server, a second tab, a password, other hands."""
import base64
import contextlib
import json
import os
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest
import zlib

from browser import Case, Keys, Server, say_what_is_missing
from rig import MODELS, PROGRAM, png
from test_adapters import write_embedding, write_lora


class Wire:
    """Stands between browser and server, and can fall silent: what streams through it then hangs, as it does when a
    machine sleeps. What comes later goes through."""
    def __init__(self, server):
        self.server, self.streams, self.silent = server, [], set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self.listener.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                far = socket.create_connection((self.server.host, self.server.port))
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self.carry, args=(one, other, near), daemon=True).start()

    def carry(self, one, other, near):
        with contextlib.suppress(OSError):
            while True:
                data = one.recv(65536)
                if b"/ballast/v1/events" in data:
                    self.streams.append(near)
                if near in self.silent:
                    continue
                if not data:
                    break
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def cut(self):
        self.silent = set(self.streams)

    def close(self):
        self.listener.close()


class Life(Case):
    def drop(self, data, name, kind, onto="body"):
        self.browser.js("""const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0)), t = new DataTransfer();
            t.items.add(new File([bytes], arguments[1], {type: arguments[2]}));
            document.querySelector(arguments[3]).dispatchEvent(new DragEvent('drop', {dataTransfer: t, bubbles: true, cancelable: true}));""",
                        base64.b64encode(data).decode(), name, kind, onto)

    def test_what_stays_in_a_list_is_not_moved(self):
        """A row that goes above and one that comes below touch those two alone: a history of pictures is such a list."""
        self.assertEqual(self.browser.js("""return import(document.querySelector('[type=module]').src.replace('app.js', 'dom.js')).then(({h, keyed}) => {
            const list = h('ul'), seen = new MutationObserver(() => {});
            const show = (...keys) => keyed(list, keys, (key) => key, (key) => h('li', null, String(key)));
            const text = () => [list.textContent, seen.takeRecords().map((r) => [r.addedNodes.length, r.removedNodes.length])];
            show(1, 2, 3, 4, 5);
            seen.observe(list, {childList: true});
            const told = [];
            for (const keys of [[2, 3, 4, 5, 6], [1, 2, 3, 4, 5], [7, 8]]) { show(...keys); told.push(text()); }
            return told; })"""),
            [["23456", [[0, 1], [1, 0]]], ["12345", [[0, 1], [1, 0]]], ["78", [[0, 1]] * 5 + [[1, 0]] * 2]])

    def test_toasts_stay(self):
        """One that comes or goes moves no other, and lies on none."""
        b = self.browser
        b.js("""return import(document.querySelector('[type=module]').src.replace('app.js', 'dom.js')).then(({toast}) => {
                window.closes = ['one', 'two '.repeat(60), 'three', 'four'].map((text) => toast(text, null, 60000)); })""")
        b.settle()
        places = "return [...document.querySelectorAll('.toast')].map((t) => [t.textContent.split(' ')[0], t.getBoundingClientRect().top, t.getBoundingClientRect().bottom])"
        before = b.js(places)
        self.assertEqual([name for name, _, _ in before], ["one", "two", "three", "four"])
        b.js("closes[1]()")
        b.js("return import(document.querySelector('[type=module]').src.replace('app.js', 'dom.js')).then(({toast}) => { toast('five', null, 60000); })")
        b.settle()
        after = b.js(places)
        self.assertEqual([row for row in after if row[0] != "five"], [row for row in before if row[0] != "two"])
        ends = sorted((top, bottom) for _, top, bottom in after)
        self.assertTrue(all(a[1] <= c[0] for a, c in zip(ends, ends[1:])), after)
        self.assertGreaterEqual(dict((name, top) for name, top, _ in after)["five"], dict((name, top) for name, top, _ in before)["two"])
        self.assertEqual(b.js("return [window.shift, window.shifts]"), [0, None])

    def test_reload_midway(self):
        b = self.browser
        b.fill("prompt", "a slow panda")
        b.fill("steps", 400)
        b.press("Make the picture")
        b.until("return /denoising/.test(document.querySelector('.progress-text')?.textContent)")
        b.open(self.server)
        self.assertEqual(b.js("return document.querySelector('[name=prompt]').value"), "a slow panda")
        b.until("return /denoising \\d+ of 400/.test(document.querySelector('.progress-text')?.textContent)")
        b.press("Stop")
        b.until("return !document.querySelector('.queue li')")
        b.until("return document.querySelector('.stage')?.textContent.includes('This picture was stopped.')")

    def test_queue(self):
        b = self.browser
        for i, steps in enumerate((400, 2, 2, 2)):
            self.server.add(prompt="number %d" % i, steps=steps, width=128, height=128)
        rows = "return [...document.querySelectorAll('.queue .what')].map((n) => n.textContent).join('|')"
        b.until(rows + " === 'number 0|number 1|number 2|number 3'")
        b.js("document.querySelectorAll('.queue li')[3].querySelector('[aria-label=Sooner]').click()")
        b.until(rows + " === 'number 0|number 1|number 3|number 2'")
        b.js("document.querySelectorAll('.queue li')[1].querySelector('[aria-label=Cancel]').click()")
        b.until(rows + " === 'number 0|number 3|number 2'")
        waiting = self.server.get("/ballast/v1/jobs?state=queued").json["items"]
        self.assertEqual([j["request"]["prompt"] for j in waiting], ["number 3", "number 2"])
        b.keys(Keys.ESCAPE)
        b.until("return document.querySelector('.toast')?.textContent.includes('Esc once more')")
        b.keys(Keys.ESCAPE)
        b.until("return !document.querySelector('.queue li')", seconds=60)

    def test_the_server_is_lost_and_found(self):
        server, b = Server(), self.browser
        try:
            b.open(server)
            b.picture("a castle", 2)
            server.kill()
            b.until("return document.querySelector('#link.lost')")
            b.press("Make the picture")
            b.until("return document.querySelector('.toast')?.textContent.includes('nothing was sent')")
            b.fill("prompt", "still typed")
            server.start()
            b.until("return !document.querySelector('#link.lost')", seconds=40)
            b.picture("a fox", 2)
            self.assertEqual(len(server.get("/ballast/v1/history").json["items"]), 2)
        finally:
            b.driver.get("about:blank")
            server.close()
        b.driver.get_log("browser")

    def test_sleep(self):
        """A stream that has died without a word is not waited for: who comes back is told what came meanwhile."""
        b = self.browser
        wire = Wire(self.server)
        try:
            b.open(wire)
            b.until("return performance.getEntriesByType('resource').some((e) => e.name.includes('/history'))")
            b.until("return import('./page/server.js').then((s) => s.link.get() === 'open')")
            wire.cut()
            b.js("Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true}); document.dispatchEvent(new Event('visibilitychange'))")
            self.server.until(self.server.add(prompt="made in the night"))
            time.sleep(0.3)
            self.assertNotIn("made in the night", b.text(".stage"))
            b.js("const now = Date.now; Date.now = () => now() + 3600000; delete document.visibilityState; document.dispatchEvent(new Event('visibilitychange'))")
            b.until("return document.querySelector('.stage')?.textContent.includes('made in the night')", seconds=10)
        finally:
            b.driver.get("about:blank")
            wire.close()

    def test_a_second_tab(self):
        """All tabs see the same, over one stream."""
        b = self.browser
        first = b.driver.current_window_handle
        for _ in range(7):
            b.driver.switch_to.new_window("tab")
            b.js("location.href = arguments[0]", "http://%s:%d/" % (self.server.host, self.server.port))  # all come at once
        job = self.server.add(prompt="a shared tiger", steps=20, width=128, height=128)
        b.until("return document.querySelector('.stage')?.textContent.includes('a shared tiger')", seconds=60)
        self.server.until(job)
        b.driver.switch_to.window(first)
        b.until("return document.querySelector('.stage')?.textContent.includes('a shared tiger')")
        for handle in b.driver.window_handles:
            if handle != first:
                b.driver.switch_to.window(handle)
                b.driver.close()
        b.driver.switch_to.window(first)

    def test_login(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "keys")
            with open(path, "w") as file:
                file.write("0123456789abcdef0123456789abcdef\n")
            with self.another("--api-keys", path, login="ann:0123456789abcdef0123456789abcdef") as server:
                self.assertEqual(server.get("/").status, 401)
                self.assertEqual(server.get("/page/app.js").status, 401)
                self.browser.picture("a castle", 2)

    def test_dropped_pictures(self):
        b = self.browser
        job = self.server.add(prompt="a dropped fox", negative_prompt="blurry", steps=7, cfg_scale=4.5, seed=77, width=128, height=64,
                              sampler_name="Euler a", scheduler="exponential")
        data = self.server.get(self.server.until(job)["images"][0]["url"]).data
        self.drop(data, "fox.png", "image/png")
        b.until("return document.querySelector('.toast')?.textContent.includes('Filled in from fox.png.')")
        self.assertNotIn("Not taken over", b.text(".toast"))
        values = json.loads(b.js("return JSON.stringify(Object.fromEntries([...document.querySelectorAll('#form [name]')].map((e) => [e.name, e.value])))"))
        self.assertEqual([values[k] for k in ("prompt", "negative", "steps", "cfg", "seed", "width", "height", "sampler", "schedule")],
                         ["a dropped fox", "blurry", "7", "4.5", "77", "128", "64", "Euler a", "exponential"])
        # What the form has no place for is said.
        text = b"a cat <lora:lost:1>\nSteps: 9, Sampler: Nowhere, CFG scale: 6, Seed: 5, Size: 64x64, Model: other, ControlNet 0: \"a, b\""
        chunk = b"tEXtparameters\0" + text
        at = 33
        self.drop(data[:at] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[at:], "cat.png", "image/png")
        told = b.until("return [...document.querySelectorAll('.toast')].map((t) => t.textContent).find((t) => t.includes('cat.png'))")
        for missed in ("sampler Nowhere", "model other", "adapter lost", "ControlNet 0 a, b"):
            self.assertIn(missed, told)
        # JPEG and WebP carry it, too.
        for suffix in ("jpg", "webp"):
            b.fill("prompt", "")
            path = os.path.join(self.server.data, "fox." + suffix)
            subprocess.run([PROGRAM, "generate", "-m", os.path.join(MODELS, "ballast-mini.safetensors"), "-p", "a fox, as " + suffix, "-s", "1", "-W", "64", "-H", "64",
                            "-o", path], check=True, capture_output=True)
            with open(path, "rb") as file:
                self.drop(file.read(), "fox." + suffix, "image/" + suffix)
            b.until("return document.querySelector('[name=prompt]').value === arguments[0]", "a fox, as " + suffix)
        # One without a text is a picture to start from.
        b.js("document.querySelector('[name=size]').value = 'own'; document.querySelector('[name=size]').dispatchEvent(new Event('change'))")
        self.drop(png(96, 64), "red.png", "image/png", ".start")
        b.until("return document.querySelector('.drop').textContent.includes('red.png')")
        b.picture("a tiger", 3, sampler="Euler")
        job = self.server.get("/ballast/v1/history?limit=1").json["items"][0]
        self.assertIn("Denoising strength", job["parameters"])
        self.drop(b"no picture", "text.txt", "image/png", ".start")
        b.until("return [...document.querySelectorAll('.toast')].some((t) => t.textContent.includes('no picture that can be read'))")

    def test_prompts(self):
        """Completion, weights by keys, and Ctrl+Enter, with the keyboard alone."""
        b = self.browser
        b.picture("a lighthouse at dusk, oil on canvas", 2)
        b.open(self.server)
        b.fill("prompt", "")
        b.js("document.querySelector('[name=prompt]').focus()")
        b.keys("a red car, oil")
        b.until("return [...document.querySelectorAll('.complete li')].some((l) => l.textContent.startsWith('oil on canvas'))")
        b.keys(Keys.ARROW_DOWN, Keys.TAB)
        value = "return document.querySelector('[name=prompt]').value"
        b.until(value + " === 'a red car, oil on canvas'")
        chord = b.chord
        chord(Keys.ARROW_UP)
        chord(Keys.ARROW_UP)
        b.until(value + " === 'a red car, oil on (canvas:1.2)'")
        chord(Keys.ARROW_DOWN)
        chord(Keys.ARROW_DOWN)
        b.until(value + " === 'a red car, oil on canvas'")
        chord("z")
        b.until(value + " === 'a red car, oil on (canvas:1.1)'")
        # Of an adapter it is the strength.
        for before, after in (("a <lora:style:0.5> b", "a <lora:style:0.6> b"), ("<lora:style>", "<lora:style:1.1>"), ("<lora:style:1:0.5>", "<lora:style:1.1:0.5>")):
            b.js("const a = document.querySelector('[name=prompt]'); a.focus(); a.value = arguments[0]; a.selectionStart = a.selectionEnd = arguments[0].indexOf('tyle')", before)
            chord(Keys.ARROW_UP)
            self.assertEqual(b.js(value), after)
        b.fill("prompt", "a red car, oil on (canvas:1.1)")
        b.fill("steps", 2)
        b.js("document.querySelector('[name=prompt]').focus()")
        chord(Keys.ENTER)
        b.until("return document.querySelector('.prompt')?.textContent === 'a red car, oil on (canvas:1.1)'")
        # Right to left is seen so.
        b.picture("\u05d1\u05d9\u05ea \u05e2\u05dc \u05d4\u05d9\u05dd", 2)
        self.assertEqual(b.js("return getComputedStyle(document.querySelector('[name=prompt]')).direction"), "rtl")
        self.assertEqual(b.js("return getComputedStyle(document.querySelector('.below .prompt')).direction"), "rtl")

    def test_the_keyboard_alone(self):
        """From the top of the page to the bar's sentence, and to another view, without a pointer."""
        b = self.browser
        self.server.until(self.server.add())
        b.open(self.server)
        b.until("return document.querySelector('.line')")
        at = "return document.activeElement.className + ' ' + document.activeElement.name + ' ' + document.activeElement.textContent.slice(0, 40)"

        def tab_to(words, most=60):
            for _ in range(most):
                b.keys(Keys.TAB)
                if words in b.js(at):
                    return
            self.fail("no %s on the way; at the end: %s" % (words, b.js(at)))

        tab_to("To the content", 3)
        tab_to("prompt", 10)
        b.keys("a castle")
        tab_to("Make the picture", 3)
        b.keys(Keys.ENTER)
        b.until("return document.querySelector('.below .prompt')?.textContent === 'a castle'", seconds=60)
        tab_to("Reuse")
        tab_to("piece", 20)
        self.assertRegex(b.text(".said"), r"^\w+ [\d.]+ s: ")
        b.js("document.activeElement.blur()")
        b.keys("/")
        b.until("return document.activeElement.id === 'search'")

    def test_words(self):
        """Adapters with their words, embeddings and the user's tags can be put into the prompt, by a list and by completion."""
        b = self.browser
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as words:
            write_lora(os.path.join(folder, "style.safetensors"), os.path.join(MODELS, "ballast-mini.safetensors"))
            write_embedding(os.path.join(words, "calmness.safetensors"))
            with self.another("--lora-dir", folder, "--embedding-dir", words) as server:
                with open(os.path.join(server.data, "tags.csv"), "w") as file:
                    file.write('hair_ornament,0,900,"hairpin"\nlong_hair,0,800,""\nsaber_(fate),4,70,""\n')
                self.assertEqual([(x["name"], x["alias"], "path" in x) for x in server.get("/ballast/v1/lists").json["loras"]],
                                 [("style", "the style", False)])
                b.open(server)
                b.fill("prompt", "a cat")
                b.js("const s = [...document.querySelectorAll('#form select')].find((e) => e.textContent.includes('style')); "
                     "s.value = '<lora:style:1>'; s.dispatchEvent(new Event('change'))")
                b.until("return document.querySelector('[name=prompt]').value === 'a cat <lora:style:1>'")
                b.picture("a cat <lora:style:0.5>", 2)
                b.js("const a = document.querySelector('[name=prompt]'); a.value = ''; a.focus()")
                b.keys("a cat, sty")
                b.until("return document.querySelector('.complete li')?.textContent === 'styleLoRA'")
                b.keys(Keys.ARROW_DOWN, Keys.TAB)
                value = "return document.querySelector('[name=prompt]').value === arguments[0]"
                b.until(value, "a cat, <lora:style:1>")
                first = "return document.querySelector('.complete:not([hidden]) li')?.textContent === arguments[0]"
                for typed, shown, put in ((", brus", "brush strokesstyle", "brush strokes"), (", hairp", "hairpin → hair ornamenttag", "hair ornament"),
                                          (", saber", "saber (fate)tag", "saber \\(fate\\)"), (", calmn", "calmnessembedding", "calmness")):
                    before = b.js("return document.querySelector('[name=prompt]').value")
                    b.keys(typed)
                    b.until("const a = document.querySelector('[name=prompt]'); a.dispatchEvent(new Event('input')); " + first, shown)
                    b.keys(Keys.ARROW_DOWN, Keys.TAB)
                    b.until(value, before + ", " + put)
                self.assertIn("calmness · another family", b.text("#form"))

    def test_widths(self):
        """Nothing sticks out and nothing jumps, from a phone to the widest screen; a finger finds what it is to touch."""
        b = self.browser
        b.picture("a castle", 2)
        try:
            for width in (360, 768, 1440, 3440):
                b.size(width, 900, touch=width == 360)
                b.open(self.server)
                b.until("return document.querySelector('.line') && /about/.test(document.querySelector('.cost').textContent)")
                for view in ("picture", "history", "grid", "memory", "settings"):
                    b.go(view)
                    if view == "memory":
                        b.until("return document.querySelectorAll('.memory .chart').length > 1")
                    self.assertLessEqual(b.js("return document.documentElement.scrollWidth"), width, (width, view))
                    self.assertEqual(b.js("return [shift, window.shifts || []]"), [0, []], (width, view))
                    if width == 360:
                        low = b.js("return [...document.querySelectorAll('main button, main select, nav a')].filter((e) => e.getClientRects().length && "
                                   "!e.matches('.link, .piece, .line *') && e.offsetHeight < 40).map((e) => e.outerHTML.slice(0, 80))")
                        self.assertEqual(low, [], view)
            b.size(360, 900, touch=True)
            b.go("picture")
            b.tap(".piece[data-stage=pipeline]")
            b.until("return document.querySelector('.said').textContent.startsWith('pipeline ')")
        finally:
            b.size(1440, 900)


if __name__ == "__main__":
    say_what_is_missing()
    unittest.main()
