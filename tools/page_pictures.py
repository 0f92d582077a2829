"""Takes the pictures of docs/page.md again: page_pictures.py [FOLDER], on a machine at rest, after `make`.
Debian's chromium, chromium-driver and python3-selenium; with python3-pil they come out a third as large."""
import os
import sys
import time

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ.update(BALLAST_TEST_PROGRAM=os.path.join(TREE, "build/bin/ballast"), BALLAST_TEST_MODELS=os.path.join(TREE, "models"),
                  BALLAST_DEVICE="cpu")
sys.path.insert(0, os.path.join(TREE, "tests/page"))
from browser import Browser, say_what_is_missing  # noqa: E402
from rig import Server  # noqa: E402

FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.join(TREE, "docs/page")
PROMPTS = ("a fox", "a castle", "a tiger", "a red car", "a robot", "a cat", "an owl", "a lion", "a christmas tree", "a frog", "a red rose")


def save(browser, name):
    browser.settle()
    path = os.path.join(FOLDER, name + ".png")
    browser.driver.save_screenshot(path)
    try:
        from PIL import Image
    except ImportError:
        return
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def main():
    say_what_is_missing()
    server, browser = Server("--budget", "12M"), Browser(1164, 820)
    try:
        for i, prompt in enumerate(PROMPTS):
            server.until(server.add(prompt=prompt, steps=20, width=128, height=128, seed=i + 4, cfg_scale=5))
        browser.open(server)
        browser.fill("prompt", "a panda")
        browser.fill("seed", 7)
        browser.press("Make the picture")
        browser.until("return document.querySelector('.below .prompt')?.textContent === 'a panda' && document.querySelector('.hint')", seconds=90)
        browser.fill("seed", "")
        browser.until("return /about/.test(document.querySelector('.cost').textContent)")
        time.sleep(1)
        browser.js("document.querySelector('.piece[data-stage=onload]').focus()")
        save(browser, "picture")
        browser.go("memory")
        browser.until("return document.querySelectorAll('.memory .chart').length > 1")
        time.sleep(1)
        save(browser, "memory")
        browser.go("history")
        browser.until("return document.querySelectorAll('.cell').length > 11")
        browser.js("document.querySelectorAll('.cell')[5].click()")
        time.sleep(2)
        save(browser, "history")
    finally:
        browser.driver.quit()
        server.close()


main()
