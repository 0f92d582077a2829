"""docs/api.md against the server: its examples run, its tables of fields and routes are those of the code.
`test_docs.py --tables` writes the tables of fields into the document."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from rig import Case, Server

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/api.md")
ADDRESS = "http://127.0.0.1:7860"
MARK = re.compile(r"<!-- fields of (\w+) (\S+) -->\n\n(.*?)\n\n", re.S)
# An answer that says no, ends the examples; a stream that is cut off by --max-time does not.
SHELL = """set -e -o pipefail
curl() { local code=0; command curl -sS --fail-with-body "$@" || code=$?; [ $code = 0 ] || [ $code = 28 ]; }
"""


def document():
    with open(PATH) as file:
        return file.read()


def fields_of(api, method, path):
    content = api["paths"][path][method.lower()]["requestBody"]["content"]
    return content["application/json"]["schema"]["properties"]


def table(api, method, path):
    """As lines of Markdown; img2img's leaves out what txt2img's has."""
    fields = fields_of(api, method, path)
    if path.endswith("/img2img"):
        shared = fields_of(api, method, path.replace("img2img", "txt2img"))
        fields = {k: v for k, v in fields.items() if shared.get(k) != v}
    lines = ["| field | | default | |", "| --- | --- | --- | --- |"]
    for kind in ("done", "warned", "ignored", "refused"):
        for name, field in fields.items():
            if field["x-ballast"] == kind:
                default = "`%s`" % json.dumps(field["default"]) if "default" in field else ""
                lines.append("| `%s` | %s | %s | %s |" % (name, kind, default, field["description"].replace("|", "\\|")))
    return "\n".join(lines)


class Docs(Case):
    def test_tables_of_fields(self):
        api = self.server.get("/openapi.json").json
        found = MARK.findall(document())
        self.assertEqual(len(found), 5)
        for method, path, text in found:
            self.assertEqual(text, table(api, method, path), "test_docs.py --tables writes it")

    def test_every_route_is_named(self):
        text = document()
        for path, methods in self.server.get("/openapi.json").json["paths"].items():
            for method in methods:
                said = re.search(r"^\| `%s` \|.*`%s`" % (method.upper(), re.escape(path)), text, re.M)
                self.assertTrue(said, "docs/api.md names no %s %s" % (method.upper(), path))

    @unittest.skipUnless(shutil.which("curl"), "the examples are curl's")
    def test_examples(self):
        blocks = re.findall(r"```sh\n(.*?)```", document(), re.S)
        self.assertGreater(len(blocks), 8)
        address = "http://127.0.0.1:%d" % self.server.port
        script = SHELL + "\n".join(blocks).replace(ADDRESS, address)
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, timeout=300)
            self.assertEqual(done.returncode, 0, (done.stdout[-2000:], done.stderr[-2000:]))
            for name in ("panda.png", "tiger.png"):
                with open(os.path.join(folder, name), "rb") as file:
                    self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n", name)


def fill_in():
    """Writes the tables into the document."""
    server = Server()
    api = server.get("/openapi.json").json
    server.close()
    text = MARK.sub(lambda m: "<!-- fields of %s %s -->\n\n%s\n\n" % (m[1], m[2], table(api, m[1], m[2])), document())
    with open(PATH, "w") as file:
        file.write(text)


if __name__ == "__main__":
    if "--tables" in sys.argv:
        fill_in()
    else:
        unittest.main()
