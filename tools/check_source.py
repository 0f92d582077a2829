#!/usr/bin/env python3
"""Limits that no compiler holds: clang-format, functions of at most 100 lines, banned calls.

Prints one line for each fault, FILE:LINE: what, and exits with 1 if there is any."""
import re
import subprocess
import sys

MAX_FUNCTION_LINES = 100
BANNED = {
    "strcpy": "snprintf", "strcat": "snprintf", "sprintf": "snprintf", "gets": "fgets", "atoi": "strtol",
    "atof": "a parser that checks", "strtok": "strcspn", "alloca": "the arena",
}
NO_EXIT = re.compile(r"\b(exit|abort|_exit|assert)\s*\(")


def sources():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.c", "*.h"], check=True,
                         capture_output=True, text=True).stdout
    return out.split()


def without_comments(text):
    """The text with comments and strings blanked, line breaks kept."""
    blank = lambda m: re.sub(r"[^\n]", " ", m.group())
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def faults_of(path):
    text = open(path, encoding="utf-8").read()
    code = without_comments(text).split("\n")
    start = None
    for number, line in enumerate(code, 1):
        if line.rstrip().endswith("{") and line[:1] not in (" ", "\t", "}", "#", ""):
            start = number
        elif line.startswith("{"):
            start = number
        elif line.startswith("}") and start:
            if number - start > MAX_FUNCTION_LINES and "(" in code[start - 1]:
                yield start, f"a function of {number - start} lines (at most {MAX_FUNCTION_LINES})"
            start = None
        for name, instead in BANNED.items():
            if re.search(rf"(?<![\w.>]){name}\s*\(", line):
                yield number, f"{name}: use {instead}"
        if path.startswith("src/") and not path.startswith("src/cli/") and NO_EXIT.search(line) \
                and "static_assert" not in line.lower():
            yield number, "the library does not exit, abort or assert"


def main():
    bad = 0
    files = sources()
    for path in files:
        for number, what in faults_of(path):
            print(f"{path}:{number}: {what}")
            bad += 1
    result = subprocess.run(["clang-format", "--dry-run", "-Werror"] + files, capture_output=True, text=True)
    if result.returncode:
        print("\n".join(line for line in result.stderr.split("\n") if "error:" in line))
        bad += 1
    print(f"checked {len(files)} sources, {bad} faults")
    return 1 if bad or not files else 0


if __name__ == "__main__":
    sys.exit(main())
