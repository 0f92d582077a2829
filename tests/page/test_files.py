"""How the page is served: what it weighs, when it is sent again, what it may load."""
import gzip
import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../server"))
from rig import MODELS, PROGRAM, Case, Server  # noqa: E402

PAGE = os.environ.get("BALLAST_TEST_PAGE", "src/page")
FILES = sorted(name for name in os.listdir(PAGE) if name.endswith((".html", ".css", ".js", ".svg")))
GZIP = {"Accept-Encoding": "gzip, deflate"}


def source(name):
    with open(os.path.join(PAGE, name), "rb") as file:
        return file.read()


class Files(Case):
    def test_every_file_is_served_as_it_is(self):
        total = 0
        for name in FILES:
            path = "/" if name == "index.html" else "/page/" + name
            plain = self.server.get(path)
            self.assertEqual((plain.status, plain.data), (200, source(name)), name)
            self.assertNotIn("Content-Encoding", plain.headers)
            packed = self.server.get(path, headers=GZIP)
            self.assertEqual(packed.headers["Content-Encoding"], "gzip")
            self.assertEqual(gzip.decompress(packed.data), source(name))
            self.assertIn("default-src 'self'", packed.headers["Content-Security-Policy"])
            total += len(packed.data) + 400  # the head
        self.assertLess(total, 150000)

    def test_what_is_known_is_not_sent_again(self):
        for path in ("/", "/page/app.js"):
            first = self.server.get(path, headers=GZIP)
            again = self.server.get(path, headers=dict(GZIP, **{"If-None-Match": first.headers["ETag"]}))
            self.assertEqual((again.status, again.data), (304, b""))
            self.assertEqual(self.server.get(path, headers={"If-None-Match": '"other"'}).status, 200)

    def test_types(self):
        for name, kind in (("app.js", "text/javascript"), ("page.css", "text/css"), ("icon.svg", "image/svg+xml")):
            self.assertTrue(self.server.get("/page/" + name).headers["Content-Type"].startswith(kind))
        self.assertEqual(self.server.ask("HEAD", "/").status, 200)

    def test_what_is_no_file(self):
        for name in ("nothing.js", "..%2fapp.js", "%2e%2e", ".html", "pack.c", "CMakeLists.txt", "a" * 70 + ".js"):
            self.assertEqual(self.server.get("/page/" + name).status, 404, name)

    def test_what_is_needed_is_there(self):
        for name in FILES:
            for other in re.findall(r"""(?:from |import\(|src=|href=|new URL\()['"](?:\./|page/)([\w.]+)['"]""", source(name).decode()):
                self.assertIn(other, FILES, name)

    def test_limits(self):
        """Small files, nothing from elsewhere, nothing that the policy refuses."""
        for name in FILES:
            text = source(name).decode()
            self.assertLess(text.count("\n"), 400, name)
            self.assertEqual(re.findall(r"https?://(?!www\.w3\.org/)[\w.]+", text), [], name)
            self.assertFalse(re.search(r"\binnerHTML\b|\beval\(|<style|\sstyle=|\son\w+=\"", text), name)
        self.assertLessEqual(len(FILES), 15)


class Folder(unittest.TestCase):
    def test_from_disk(self):
        server = Server("--page", PAGE)
        try:
            reply = server.get("/page/app.js", headers=GZIP)
            self.assertEqual((reply.status, reply.data), (200, source("app.js")))
            self.assertEqual(reply.headers["Cache-Control"], "no-store")
            for name in ("pack.c", "nothing.js", "..%2fpage%2fapp.js"):
                self.assertEqual(server.get("/page/" + name).status, 404, name)
        finally:
            server.close()

    def test_a_folder_without_a_page(self):
        for folder in ("nowhere", os.path.join(PAGE, "app.js"), os.path.dirname(os.path.abspath(PAGE))):
            end = subprocess.run([PROGRAM, "serve", "--page", folder, "--models", MODELS], capture_output=True, text=True, timeout=60)
            self.assertEqual(end.returncode, 2, end)
            self.assertIn("--page: %s: no page is there" % folder, end.stderr)


if __name__ == "__main__":
    unittest.main()
