#!/usr/bin/env python3
"""Limits that no compiler holds: length of functions and files, banned calls, format, paths of somebody's machine;
in documents the length of lines; that what documents and comments name, and documents link to, is there.

Prints one line for each fault, FILE:LINE: what, and exits with 1 if there is any."""
import glob
import os
import re
import shutil
import subprocess
import sys

MAX_FUNCTION_LINES = 100
MAX_FILE_LINES = 600
MAX_DOCUMENT_COLUMNS = 120  # tables and links may be wider
FORMAT_VERSION = 14  # others lay out some lines differently
BANNED = {
    "sprintf": "snprintf", "vsprintf": "vsnprintf", "gets": "fgets", "alloca": "malloc", "tmpnam": "mkstemp",
    "mktemp": "mkstemp", "system": "posix_spawn", "popen": "posix_spawn",
}
# What nobody hostile reaches may be shorter: these are for the product, not for its tests.
IN_THE_PRODUCT = {
    "strcpy": "snprintf", "strcat": "snprintf", "atoi": "strtol", "atol": "strtol", "atof": "strtod",
    "strtok": "strcspn", "setlocale": "nothing: the program that uses us decides",
}
IN_THE_LIBRARY = {
    "exit": "an error code", "_exit": "an error code", "abort": "an error code", "assert": "an error code",
    "strtod": "a parser that no locale changes", "strtof": "a parser that no locale changes",
    "printf": "the log", "signal": "nothing: signals are the program's", "puts": "the log",
}
# In every text file. The brackets keep these patterns from finding themselves.
FORBIDDEN = {
    r"(?<![\w.~])/(?:work|home|root|opt|mnt)/[A-Za-z]": "a path of somebody's machine",
    r"\b(?:TOD[O]|FIXM[E]|XX[X])\b": "unfinished; do it, or file an issue",
    r"^(?:<<<<<<<|>>>>>>>|=======$)": "a merge that was not resolved",
}
NAME = r"\b(?:bl|ballast)_\w+"
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
NOT_OURS = ("tests/data/", "tests/fuzz/corpus/", "src/text/clip_merges.txt")


def tracked():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], check=True, capture_output=True,
                         text=True).stdout
    return [path for path in out.split("\0") if path and (path.endswith(".md") or not path.startswith(NOT_OURS))]


def without_comments(text):
    """The text with comments, strings, character constants and preprocessor lines blanked, line breaks kept."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group())
    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, text, flags=re.S)
    return re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", blank, text, flags=re.M)


def functions(code):
    """(line of the opening brace, lines) of every function body."""
    depth = start = 0
    head = ""
    for number, line in enumerate(code.split("\n"), 1):
        for c in line:
            if c == "{":
                if depth == 0:
                    start = number if head.rstrip().endswith(")") else 0
                depth += 1
            elif c == "}":
                depth = max(depth - 1, 0)
                if depth == 0:
                    if start:
                        yield start, number - start + 1
                    head = ""
            elif depth == 0:
                head = "" if c == ";" else head + c
        head += " "


def careless_outs(code):
    """Functions that hand a pointer out and can fail before *out is set: their callers free what they got."""
    pattern = re.compile(r"^(?:static )?int (\w+)\(\w[\w ]*\*\*out,(?:[^;{}()]|\([^()]*\))*\) \{\n(.*?)^\}", re.M | re.S)
    for m in pattern.finditer(code):
        body = m.group(2)
        fails = re.search(r"\b(?:return|goto)\b", body)
        given = re.search(r"\*out = NULL;|\(out\b", body)
        if not given or (fails and ";" in body[fails.start():given.start()]):
            yield code.count("\n", 0, m.start()) + 1, f"{m.group(1)}: *out = NULL has to come before anything that fails"


def calls(code, names):
    pattern = re.compile(rf"(?<![\w.>])({'|'.join(names)})\s*\(")
    for number, line in enumerate(code.split("\n"), 1):
        for m in pattern.finditer(line):
            yield number, f"{m.group(1)}: use {names[m.group(1)]}"


def faults_of_source(path, text):
    code = without_comments(text)
    lines = text.count("\n")
    if lines > MAX_FILE_LINES:
        yield 1, f"a file of {lines} lines (at most {MAX_FILE_LINES})"
    for number, length in functions(code):
        if length > MAX_FUNCTION_LINES:
            yield number, f"a function of {length} lines (at most {MAX_FUNCTION_LINES})"
    if path.startswith("src/"):
        yield from careless_outs(code)
    yield from calls(code, BANNED)
    if path.startswith(("src/", "examples/")):
        yield from calls(code, IN_THE_PRODUCT)
    if path.startswith("src/") and not path.startswith("src/cli/"):
        yield from calls(code, IN_THE_LIBRARY)


def faults_of_text(text):
    for number, line in enumerate(text.split("\n"), 1):
        for pattern, what in FORBIDDEN.items():
            if re.search(pattern, line):
                yield number, what
        if line != line.rstrip():
            yield number, "blanks at the end of the line"
    if text and not text.endswith("\n"):
        yield text.count("\n") + 1, "no line break at the end of the file"


def slug(heading):
    """The anchor that a heading gets."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.lower())
    return re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")


def anchors(path):
    with open(path, encoding="utf-8") as file:
        return {slug(m.group(1)) for m in re.finditer(r"^#+ (.*)$", file.read(), re.M)}


def dead_links(folder, path, line):
    for target in re.findall(r"\]\(([^)\s]+)\)", line):
        if re.match(r"\w+:", target):
            continue  # somebody else's
        name, _, anchor = target.partition("#")
        file = os.path.normpath(os.path.join(folder, name)) if name else path
        if not os.path.exists(file):
            yield f"a link to {target}, which is not there"
        elif anchor and anchor not in anchors(file):
            yield f"a link to {target}: {file} has no such heading"


class Names:
    """What documents may speak of: the tracked files, and the words in those of ours that are not documents."""

    def __init__(self, files):
        self.files = files
        self.tops = {path.split("/")[0] for path in files if "/" in path}
        self.words = set()
        for path in files:
            if path.endswith((".c", ".h", ".inc", ".txt", ".map", ".py")):
                with open(path, encoding="utf-8") as file:
                    self.words.update(re.findall(NAME, COMMENT.sub("", file.read())))

    def missing_words(self, line):
        for name in re.findall(NAME + r"\b(?!\*)", line):
            if name not in self.words and not name.endswith("_"):
                yield f"{name} is nowhere in the sources"

    def is_file(self, name):
        return any(path == name or path.endswith("/" + name) for path in self.files)

    def missing(self, line):
        yield from self.missing_words(line)
        for name in re.findall(r"(?<![\w./~$-])[\w*][\w./*-]*", re.sub(r"\w+://\S+|\]\([^)]*\)", "", line)):
            name = name.rstrip(".")
            if "*" in name:
                known = "/" not in name or glob.glob(name) or glob.glob("**/" + name, recursive=True)
            elif name.startswith("share/ballast/") or re.search(r"ROOM|NAME|FAMILY|CARD", name):
                continue  # where it is installed; a pattern
            elif name.split("/")[0] in self.tops and "/" in name:
                known = os.path.exists(name)
            elif re.search(r"\w\.(?:c|h|inc|py|sh)$", name):
                known = self.is_file(name)
            else:
                continue
            if not known:
                yield f"{name} is no file of this tree"


def faults_of_comments(text, names):
    """Names of ours in comments. Files of others, which formulas are from, have capitals or end otherwise."""
    for m in COMMENT.finditer(text):
        number = text.count("\n", 0, m.start()) + 1
        for what in names.missing_words(m.group()):
            yield number, what
        for name in re.findall(r"(?<![\w./])(?:[a-z]+/)*[a-z_0-9]{2,}\.(?:c|h|inc)\b", m.group()):
            if not names.is_file(name):
                yield number, f"{name} is no file of this tree"


def faults_of_document(path, text, names):
    for number, line in enumerate(text.split("\n"), 1):
        bare = re.sub(r"\]\([^)]*\)|https?://\S+", "]", line)
        if len(bare) > MAX_DOCUMENT_COLUMNS and not line.lstrip().startswith("|"):
            yield number, f"a line of {len(line)} columns (at most {MAX_DOCUMENT_COLUMNS})"
        for what in dead_links(os.path.dirname(path), path, line):
            yield number, what
        if path != "CHANGELOG.md":  # which names what has gone
            for what in names.missing(line):
                yield number, what


def find_clang_format():
    """Its command, or None and why not."""
    found = None
    for name in (f"clang-format-{FORMAT_VERSION}", "clang-format"):
        if shutil.which(name):
            version = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
            found = re.search(r"version (\d+)", version)
            if found and int(found.group(1)) == FORMAT_VERSION:
                return name, None
    return None, f"there is version {found.group(1)}" if found else "there is none"


def check_format(sources):
    program, why_not = find_clang_format()
    if not program:
        print(f"format was not checked: that takes clang-format {FORMAT_VERSION}, and {why_not}")
        return 0
    result = subprocess.run([program, "--dry-run", "-Werror"] + sources, capture_output=True, text=True)
    lines = [line for line in result.stderr.split("\n") if "error:" in line]
    print("\n".join(lines), end="\n" if lines else "")
    return max(len(lines), 1) if result.returncode else 0


def main():
    bad = 0
    files, sources = [path for path in tracked() if os.path.exists(path)], []
    names = Names(files)
    for path in files:
        try:
            text = open(path, encoding="utf-8").read()
        except UnicodeDecodeError:
            continue  # a picture or a tensor file
        faults = list(faults_of_text(text))
        if path.endswith((".c", ".h", ".inc")):
            sources.append(path)
            faults += faults_of_source(path, text)
            faults += faults_of_comments(text, names)
        if path.endswith(".md"):
            faults += faults_of_document(path, text, names)
        for number, what in sorted(faults):
            print(f"{path}:{number}: {what}")
        bad += len(faults)
    bad += check_format(sources)
    print(f"checked {len(sources)} sources of {len(files)} files, {bad} faults")
    return 1 if bad or not sources else 0


if __name__ == "__main__":
    sys.exit(main())
