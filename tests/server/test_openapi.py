"""/openapi.json against the code: what it describes is served, and what is served it describes."""
import os
import re
import unittest

from rig import SMALL, Case, b64, png

ROUTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/server/api/routes.c")


class OpenApi(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.document = cls.server.get("/openapi.json").json

    def operations(self):
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                yield method.upper(), path, operation

    def test_every_row_is_described(self):
        with open(ROUTES) as file:
            text = file.read()
        prefix = {"SD": "/sdapi/v1/", "OWN": "/ballast/v1/", "": ""}
        rows = {(m, prefix[p] + rest) for m, p, rest in re.findall(r'\{"(\w+)",\s*(?:(SD|OWN) )?"([^"]*)", \w+, BODY_', text)}
        self.assertGreater(len(rows), 55)
        self.assertEqual({(m, p) for m, p, _ in self.operations()}, rows)

    def test_what_is_described_is_served(self):
        for method, path, operation in self.operations():
            if path.endswith("/events"):
                continue
            r = self.server.ask(method, re.sub(r"\{\w+\}", "0", path), raw=b"[" if method in ("POST", "PATCH") else None)
            self.assertLess(r.status, 500, (method, path, r.data[:200]))
            self.assertNotEqual(r.status, 405, (method, path))
            if r.status == 404:
                self.assertNotEqual(r.json, {"detail": "Not Found"}, (method, path))
            other = self.server.ask("PUT", re.sub(r"\{\w+\}", "0", path), raw=b"")
            self.assertEqual(other.status, 405, path)
            self.assertIn(method, other.headers["Allow"].split(", "))

    def fits(self, schema, value, where):
        """What is there is described, and what is described is there."""
        if "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        if "anyOf" in schema:
            if value is not None:
                self.fits(schema["anyOf"][0], value, where)
            return
        if "enum" in schema:
            self.assertIn(value, schema["enum"], where)
        kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list}
        if "type" in schema:
            self.assertIsInstance(value, kinds[schema["type"]], where)
            self.assertEqual(isinstance(value, bool), schema["type"] == "boolean", where)
        if "properties" in schema:
            self.assertLessEqual(set(schema["required"]), set(value), where)
            if "/plan" not in where:  # the library's, whose reports grow
                self.assertLessEqual(set(value), set(schema["properties"]), where)
            for key, one in value.items():
                self.fits(schema["properties"].get(key, {}), one, "%s.%s" % (where, key))
        for one in value if "items" in schema else ():
            self.fits(schema["items"], one, where + "[]")

    def test_answers_are_as_described(self):
        start = {"image": b64(png(64, 64)), "init_images": [b64(png(64, 64))], "prompt": "a panda", "steps": 1, "width": 64,
                 "height": 64, "size": "64x64"}
        job = self.server.add()
        self.server.until(job)
        long = self.server.add(steps=200, width=128, height=128)
        waiting = [self.server.add(steps=200, width=128, height=128) for _ in range(3)]
        parts = {"{id}": long, "{number}": "0"}
        checked = 0
        for path, method, body in (("jobs/%s" % waiting[0], "PATCH", {"position": 1}), ("jobs/%s" % waiting[1], "DELETE", None),
                                   ("history/%s" % job, "DELETE", None)):
            schema = self.document["paths"]["/ballast/v1/" + path.split("/")[0] + "/{id}"][method.lower()]
            answer = self.server.ask(method, "/ballast/v1/" + path, body)
            self.fits(schema["responses"]["200"]["content"]["application/json"]["schema"], self.ok(answer), path)
        for job in (long, waiting[0], waiting[2]):
            self.fits({"$ref": "/Job"}, self.server.get("/ballast/v1/jobs/" + job).json, "job")
            self.server.ask("DELETE", "/ballast/v1/jobs/" + job)
        for method, path, operation in self.operations():
            answer = operation["responses"].get("200", operation["responses"].get("202"))
            schema = answer["content"].get("application/json", {}).get("schema")
            if schema is None or method in ("PATCH", "DELETE") or path.endswith(("interrogate", "/adapter")):
                continue
            for old, new in parts.items():
                path = path.replace(old, new)
            r = self.server.ask(method, path, start if method == "POST" else None)
            self.assertIn(r.status, (200, 202), (path, r.data[:300]))
            self.assertEqual(schema == {}, r.json is None, path)
            self.fits(schema, r.json, path)
            checked += 1
        self.assertGreater(checked, 45)

    def test_its_form(self):
        ids = [o["operationId"] for _, _, o in self.operations()]
        self.assertEqual(len(ids), len(set(ids)))
        schemas = self.document["components"]["schemas"]
        for name in re.findall(r"#/components/schemas/(\w+)", self.server.get("/openapi.json").data.decode()):
            self.assertIn(name, schemas)
        for method, path, o in self.operations():
            named = {p["name"] for p in o.get("parameters", []) if p["in"] == "path"}
            self.assertEqual(named, set(re.findall(r"\{(\w+)\}", path)))
            self.assertTrue(o["summary"] and o["responses"])

    def test_fields_are_as_they_say(self):
        """Each field is taken at its ends, and refused beyond them."""
        schema = self.document["paths"]["/sdapi/v1/txt2img"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        kinds = set()
        for name, field in schema["properties"].items():
            kinds.add(field["x-ballast"])
            if field["x-ballast"] == "refused":
                self.refused(self.server.post("/ballast/v1/jobs", {name: "anything"}), name)
            if "maximum" in field:
                for value in (field["minimum"] - 1, field["maximum"] + 1):
                    self.refused(self.server.post("/ballast/v1/jobs", {name: value}), name)
            if "maxLength" in field:
                self.refused(self.server.post("/ballast/v1/jobs", {name: "x" * (field["maxLength"] + 1)}), name)
        self.assertEqual(kinds, {"done", "ignored", "warned", "refused"})


class BehindAProxy(Case):
    flags = ("--base-path", "/sd")

    def test_it_says_where(self):
        self.assertEqual(self.server.get("/sd/openapi.json").json["servers"], [{"url": "/sd"}])
        added = self.server.post("/sd/ballast/v1/jobs", SMALL)
        self.assertEqual(added.headers["Location"], "/sd" + added.json["url"])
        made = self.server.post("/sd/v1/images/generations", dict(prompt="a", size="64x64", steps=1, response_format="url"))
        self.assertRegex(made.json["data"][0]["url"], r"^http://127.0.0.1:\d+/sd/ballast/v1/jobs/\w+/image/0$")


if __name__ == "__main__":
    unittest.main()
