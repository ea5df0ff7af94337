"""Rows for the curation benchmarks: the long descriptions of Debian's packages, fetched with apt and kept in the cache.

They are real, repeat themselves (boilerplate of package families) and come from a thousand hands. Their licences are those
of their packages, so they are never in the repository. Needs a Debian machine; nothing of its own apt is touched.

Run: python3 bench/debian.py [--rows N]      prints the path of the JSONL file
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

CACHE = Path(os.environ.get("HONE_CACHE", Path.home() / ".cache" / "hone")) / "debian"


def descriptions(rows: int = 60_000) -> Path:
    """The first `rows` different packages in the order of their names, as `{"package": …, "text": …}` a line."""
    found = CACHE / f"descriptions-{rows}.jsonl"
    if found.exists():
        return found
    texts = dict(sorted(long_texts(translations()).items()))
    if len(texts) < rows:
        sys.exit(f"apt knows {len(texts)} packages, {rows} were asked for")
    lines = [json.dumps({"package": name, "text": text}, ensure_ascii=False) for name, text in list(texts.items())[:rows]]
    found.write_text("\n".join(lines) + "\n")
    return found


def translations() -> str:
    """All `Translation-en` files of apt's sources, fetched into the cache."""
    lists = CACHE / "lists"
    if not list(lists.glob("*Translation-en*")):
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        options = ["-o", f"Dir::State::lists={lists}", "-o", "Acquire::Languages=en", "-o", "APT::Sandbox::User=root"]
        subprocess.run(["apt-get", *options, "update"], check=True, stdout=subprocess.DEVNULL)
    helper = "/usr/lib/apt/apt-helper"
    files = sorted(lists.glob("*Translation-en*"))
    return "\n\n".join(subprocess.run([helper, "cat-file", file], check=True, capture_output=True, text=True).stdout for file in files)


def long_texts(translations: str) -> dict[str, str]:
    """Package to description without its one-line synopsis, as a reader sees it: `.` alone is an empty line."""
    texts = {}
    for stanza in translations.split("\n\n"):
        name = re.search(r"^Package: (.+)$", stanza, re.MULTILINE)
        text = re.search(r"^Description-en: .*\n((?: .*\n?)+)", stanza, re.MULTILINE)
        if name and text:
            lines = [line[1:] for line in text[1].splitlines()]
            texts.setdefault(name[1], "\n".join("" if line == "." else line for line in lines).strip())
    return texts


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rows", type=int, default=60_000)
    print(descriptions(arguments.parse_args().rows))
