"""A history of many pictures without making them, and scrolling through it: of a test and of a bench."""
import os
import sqlite3

from browser import Server

# Scrolls by so many pixels a frame; [milliseconds from each frame to the next, the most cells that there were].
SCROLL = """const [pixels, frames, done] = arguments, s = document.querySelector('.scroller'), gaps = []; let last = 0, most = 0;
const step = (t) => { if (last) gaps.push(t - last); last = t; s.scrollTop += pixels; most = Math.max(most, document.querySelectorAll('.cell').length);
  if (gaps.length < frames) requestAnimationFrame(step); else done([gaps, most]); };
requestAnimationFrame(step);"""


def filled(folder, count):
    """A server whose history holds one picture so many times, each a job of its own."""
    server = Server(data=folder)
    job = server.until(server.add())["id"]
    server.close()
    db = sqlite3.connect(os.path.join(folder, "ballast.db"))
    for table, key, own in (("jobs", "id", ("n", "id", "idempotency")), ("pictures", "job", ("n", "job"))):
        rest = ", ".join(row[1] for row in db.execute("PRAGMA table_info(%s)" % table) if row[1] not in own)
        db.executemany("INSERT INTO %s(%s, %s) SELECT ?, %s FROM %s WHERE %s = ?" % (table, key, rest, rest, table, key),
                       (("copy%d" % i, job) for i in range(count - 1)))
    db.commit()
    db.close()
    return Server(data=folder)


def computed(browser):
    """Milliseconds that the page's main thread has computed: however busy the machine is."""
    browser.driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    metrics = browser.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return 1000 * {m["name"]: m["value"] for m in metrics}["TaskDuration"]
