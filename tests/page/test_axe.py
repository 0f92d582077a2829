"""What axe-core finds in every view: nothing, in light and dark, on a phone and on a desk."""
import os
import subprocess
import sys
import unittest

from browser import Case, say_what_is_missing

FOLDER = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ballast-axe")
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools/axe.sh")
RUN = """const done = arguments[0]; axe.run(document).then((r) => done(r.violations.map((v) => v.id + ': ' +
         v.nodes.slice(0, 3).map((n) => n.html.slice(0, 120) + ' ' + n.failureSummary.slice(0, 200)).join(' | '))));"""


class Axe(Case):
    flags = ("--offload", "balanced", "--fit-check", "off", "--budget", "12M")  # every setting is seen, a hint is given

    @classmethod
    def setUpClass(cls):
        with open(os.path.join(FOLDER, "axe.min.js"), encoding="utf-8") as file:
            cls.axe = file.read()
        super().setUpClass()

    def look(self, where):
        if not self.browser.js("return typeof axe !== 'undefined'"):
            self.browser.js(self.axe)
        self.assertEqual(self.browser.driver.execute_async_script(RUN), [], where)

    def test_all_views(self):
        b = self.browser
        self.look("before the first picture")
        b.picture("a castle", 1)
        for _ in range(5):
            b.picture("a panda", 20)
            if b.all(".hint"):
                break
        self.assertTrue(b.all(".hint"))
        long = self.server.add(steps=400, width=128, height=128)
        b.until("return /denoising/.test(document.querySelector('.progress-text')?.textContent)")
        self.look("while a picture is made")
        self.server.ask("DELETE", "/ballast/v1/jobs/" + long)
        self.server.until(long)
        b.until("return document.querySelector('.sorry')")
        self.look("after it was stopped")
        b.picture("a tiger", 1)
        for dark in (False, True):
            for width in (1440, 360):
                b.colours(dark)
                b.size(width, 900)
                for view in ("picture", "history", "grid", "memory", "settings"):
                    b.go(view)
                    if view == "history":
                        b.until("return document.querySelectorAll('.cell').length > 1")
                        b.js("document.querySelectorAll('.cell')[1].click()")
                        b.until("return document.querySelector('.detail .line')")
                    elif view == "memory":
                        b.until("return document.querySelectorAll('.memory .chart').length > 1")
                    b.settle()
                    self.look((view, dark, width))
                    b.js("document.querySelector('.detail .close')?.click()")
        b.size(1440, 900)
        b.go("history")
        b.until("return document.querySelectorAll('.cell').length > 1")
        b.js("document.querySelectorAll('.cell')[0].click()")
        b.press("Compare with another", ".detail")
        b.js("document.querySelectorAll('.cell')[1].click()")
        b.until("return document.querySelector('dialog[open]')")
        self.look("a comparison")


if __name__ == "__main__":
    say_what_is_missing()
    if subprocess.run([SCRIPT, FOLDER]).returncode:
        print("THE PAGE WAS NOT TESTED WITH AXE: tools/axe.sh could not fetch it", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 77)
    unittest.main()
