#!/usr/bin/env python3
"""How fast the page comes, and how it scrolls: `make bench-page`, half a minute.

    page.py BIN          BIN holds ballast

In Debian's chromium without a window, on loopback, with the embedded model: the page is opened again and again, with
nothing in the browser's cache and with all of it, and a history of 5,000 pictures is scrolled. Times are by the clock:
a machine that does something else meanwhile measures that, so its load is printed beside them. What the page's main
thread computed does not depend on it."""
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
os.environ["BALLAST_TEST_PROGRAM"] = str(Path(sys.argv[1]).resolve() / "ballast")
os.environ["BALLAST_TEST_MODELS"] = str(TREE / "models")
sys.path.insert(0, str(TREE / "tests" / "page"))
from browser import Browser, say_what_is_missing  # noqa: E402
from filled import SCROLL, computed, filled  # noqa: E402

PICTURES, LOADS, FRAMES = 5000, 15, 300
TIMES = """const n = performance.getEntriesByType('navigation')[0], p = performance.getEntriesByName('first-contentful-paint')[0];
return n.loadEventEnd && p && [p.startTime, n.loadEventEnd, performance.getEntriesByType('resource').filter((e) =>
  /\\/page\\//.test(e.name)).reduce((sum, e) => sum + e.transferSize, n.transferSize)];"""


def loads(browser, server, cached):
    """[[first paint, load event, bytes of the page], ...] in milliseconds from the begin of the navigation."""
    seen = []
    for _ in range(LOADS):
        browser.driver.get("about:blank")
        if not cached:
            browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        browser.open(server)
        seen.append(browser.until(TIMES))
    return list(zip(*seen))


def middle(times):
    return "%.0f ms (%.0f to %.0f)" % (statistics.median(times), min(times), max(times))


def main():
    say_what_is_missing()
    folder = tempfile.mkdtemp(prefix="ballast-page-")
    server = filled(folder, PICTURES)
    browser = Browser()
    load = os.getloadavg()[0]
    try:
        browser.open(server)
        print("| the page, median of %d (least to most) | |\n| --- | --- |" % LOADS)
        for cached, words in ((False, "nothing in the cache"), (True, "all in the cache")):
            paint, whole, sent = loads(browser, server, cached)
            print("| first contentful paint, %s (bar: 150 ms) | %s |" % (words, middle(paint)))
            print("| load event, %s (bar: 150 ms) | %s |" % (words, middle(whole)))
            print("| over the wire, %s (bar: 150 kB) | %.0f kB |" % (words, statistics.median(sent) / 1000))
        browser.open(server, "#history")
        browser.until("return document.querySelectorAll('.cell').length > 10")
        for pixels in (30, 90, 900):
            browser.js("document.querySelector('.scroller').scrollTop = 0")
            browser.settle()
            before = computed(browser)
            gaps, most = browser.driver.execute_async_script(SCROLL, pixels, FRAMES)
            each = (computed(browser) - before) / FRAMES
            late = sum(gap > 25 for gap in gaps)  # a frame was left out
            print("| %d pictures, %d pixels a frame: median frame (bar: 16.7 ms), later than one and a half | %.1f ms, %d of %d |"
                  % (PICTURES, pixels, statistics.median(gaps), late, FRAMES))
            print("| main thread a frame; most cells | %.1f ms; %d |" % (each, most))
        print("| the machine's load before and after, of %d cores | %.1f, %.1f |" % (os.cpu_count(), load, os.getloadavg()[0]))
    finally:
        browser.close()
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
