"""A browser without a window, and what the tests of the page ask of it. It takes Debian's chromium and its driver."""
import contextlib
import os
import shutil
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../server"))
from rig import Server  # noqa: E402

MISSING = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
try:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError:
    MISSING.append("python3-selenium")

# Set before the page's own code: counts layout shifts and collects faults.
WATCH = """
window.faults = []; window.shift = 0;
addEventListener('error', (e) => faults.push(String(e.message || e.target && e.target.src)), true);
addEventListener('unhandledrejection', (e) => faults.push(String(e.reason && e.reason.stack || e.reason)));
addEventListener('securitypolicyviolation', (e) => faults.push('policy: ' + e.violatedDirective + ' ' + e.blockedURI));
new PerformanceObserver((list) => { for (const e of list.getEntries()) if (!e.hadRecentInput) { shift += e.value;
  (window.shifts ||= []).push(e.sources.map((s) => [s.node && s.node.outerHTML && s.node.outerHTML.slice(0, 120),
  JSON.stringify(s.previousRect), JSON.stringify(s.currentRect)])); } }).observe({type: 'layout-shift', buffered: true});
"""


def say_what_is_missing():
    """Loudly: a page that no browser has seen is not tested."""
    if MISSING:
        print("THE PAGE WAS NOT TESTED: %s missing; tools/setup.sh tests installs them" % ", ".join(MISSING), file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 77)


class Browser:
    def __init__(self, width=1440, height=900, dark=False, network=False):
        """`network`: each request is logged, which takes its time."""
        options = Options()
        options.binary_location = shutil.which("chromium")
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars",
                     "--window-size=%d,%d" % (width, height), "--disable-background-networking", "--disable-component-update",
                     "--no-first-run", "--lang=en-GB"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL" if network else "OFF"})
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        self.size(width, height)
        self.driver.set_script_timeout(120)
        self.colours(dark)

    def size(self, width, height, touch=False):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                    {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch})
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})

    def tap(self, selector):
        """A finger on the middle of an element."""
        at = self.js("const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); "
                     "return {x: r.x + r.width / 2, y: r.y + r.height / 2}", selector)
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def settle(self):
        """Waits until what was changed has been drawn."""
        self.driver.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 20)))")

    def go(self, view):
        self.js("location.hash = '#' + arguments[0]", view)
        self.until("return document.body.dataset.view === arguments[0]", view)
        self.settle()

    def colours(self, dark, calm=False):
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                    {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, server, where="", login=None):
        """The page anew; where it is open already, too."""
        self.js("window.old = true")
        self.driver.get("http://%s%s:%d/%s" % (login + "@" if login else "", server.host, server.port, where))
        if self.js("return window.old"):  # the address differs in what stands behind the # at most
            self.driver.refresh()
        self.until("return document.querySelector('#form') && document.querySelector('[name=sampler]').options.length > 3 || "
                   "location.hash && location.hash !== '#picture'")

    def forget(self, server):
        """Leaves the page, and with it all that the browser has kept of it."""
        self.driver.get("about:blank")
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin",
                                    {"origin": "http://%s:%d" % (server.host, server.port), "storageTypes": "local_storage,indexeddb"})

    def js(self, script, *values):
        return self.driver.execute_script(script, *values)

    def until(self, script, *values, seconds=30):
        """Waits for a script to give something that is true; what it gave."""
        end = time.time() + seconds
        while time.time() < end:
            got = self.js(script, *values)
            if got:
                return got
            time.sleep(0.05)
        raise AssertionError("not in %d s: %s\n%s" % (seconds, script, self.js("return document.body.innerText")[:1500]))

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.js("const e = document.querySelector(arguments[0]); return e ? e.textContent : ''", selector)

    def fill(self, name, value):
        """Sets an input as a person does, in one go."""
        self.js("const e = document.querySelector(`#form [name=\"${arguments[0]}\"]`); e.focus(); e.value = arguments[1];"
                "for (const k of ['input', 'change']) e.dispatchEvent(new Event(k, {bubbles: true})); e.blur();", name, str(value))

    def press(self, label, within="body"):
        """Clicks the button of this text or label."""
        self.until("const b = [...document.querySelectorAll(arguments[1] + ' button, ' + arguments[1] + ' a')].find((e) => "
                   "e.getClientRects().length && [e.textContent.trim(), e.getAttribute('aria-label')].includes(arguments[0]));"
                   "if (b) { b.scrollIntoView({block: 'center'}); b.click(); } return Boolean(b)", label, within)

    def keys(self, *keys):
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def chord(self, key):
        """Ctrl and this key."""
        webdriver.ActionChains(self.driver).key_down(Keys.CONTROL).send_keys(key).key_up(Keys.CONTROL).perform()

    def picture(self, prompt, steps=4, **more):
        """Makes a picture by the form, and waits until its line is there."""
        before = self.js("return document.querySelector('.frame > img')?.src || ''")
        self.fill("prompt", prompt)
        self.fill("steps", steps)
        for name, value in more.items():
            self.fill(name, value)
        self.press("Make the picture")
        self.until("const i = document.querySelector('.frame > img'); return i && i.src !== arguments[0] && "
                   "document.querySelector('.line')", before, seconds=120)

    def shot(self, path):
        self.driver.save_screenshot(path)

    def faults(self):
        """What went wrong in the page since it was opened."""
        logged = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return (self.js("return window.faults") or []) + logged

    def close(self):
        self.driver.quit()


class Case(unittest.TestCase):
    """Tests of one class share a browser and a server, which is started with `flags`; each begins with a page that
    remembers nothing, and ends with one that has no fault."""
    flags = ()
    network = False

    @classmethod
    def setUpClass(cls):
        cls.server = cls.serve()
        cls.addClassCleanup(lambda: cls.server.close())
        cls.browser = Browser(network=cls.network)
        cls.addClassCleanup(cls.browser.close)

    @classmethod
    def serve(cls):
        return Server(*cls.flags)

    def setUp(self):
        self.browser.forget(self.server)
        self.browser.open(self.server)

    def tearDown(self):
        self.assertEqual(self.browser.faults(), [])

    @contextlib.contextmanager
    def another(self, *flags, login=None, **more):
        """The page of another server, which is gone afterwards."""
        server = Server(*flags, **more)
        try:
            self.browser.open(server, login=login)
            yield server
            self.assertEqual(self.browser.faults(), [])
        finally:
            self.browser.driver.get("about:blank")
            server.close()
