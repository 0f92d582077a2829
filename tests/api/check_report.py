#!/usr/bin/env python3
"""check_report.py SCHEMA DEFINITION FILE...: does each JSON file hold what the schema's definition says, and nothing
that it does not name? check_report.py --documented SCHEMA PAGE: does the page name every field and every word?

Prints a line for each fault and exits with 1 if there is any."""
import json
import sys

import jsonschema


def objects(node):
    """Every part of the schema that describes an object or lists words."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from objects(item)


def check_files(schema, name, paths):
    for part in objects(schema):
        if "properties" in part and "type" in part:  # readers allow what later versions add; these tests do not
            part.setdefault("additionalProperties", False)
    jsonschema.Draft7Validator.check_schema(schema)
    schema.pop("oneOf")
    schema["$ref"] = f"#/definitions/{name}"
    validator = jsonschema.Draft7Validator({"definitions": schema["definitions"], "$ref": schema["$ref"]})
    faults = 0
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for error in validator.iter_errors(json.load(file)):
                print(f"{path}: {'/'.join(str(step) for step in error.absolute_path)}: {error.message[:300]}")
                faults += 1
    return faults


def check_page(schema, page):
    with open(page, encoding="utf-8") as file:
        text = file.read()
    words = set()
    for part in objects(schema):
        words.update(part.get("properties", {}) if isinstance(part.get("properties", {}), dict) else {})
        words.update(part.get("enum", []) if isinstance(part.get("enum", []), list) else [])
    missing = sorted(word for word in words if f"`{word}`" not in text)
    for word in missing:
        print(f"{page}: `{word}` is not explained")
    return len(missing)


def main():
    documented = sys.argv[1] == "--documented"
    with open(sys.argv[2 if documented else 1], encoding="utf-8") as file:
        schema = json.load(file)
    faults = check_page(schema, sys.argv[3]) if documented else check_files(schema, sys.argv[2], sys.argv[3:])
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
