"""Near-duplicates of 60,000 package descriptions: Hone beside datasketch, and both beside the truth.

Both look for texts whose 5-word shingles have a Jaccard similarity of at least 0.8, by MinHash with 14 bands of 8 hashes. Hone verifies
each candidate pair exactly; datasketch is run as its documentation shows, and again with exact verification of its candidates. The
truth is an exact join over all pairs (prefix filter), made once. Runs alternate; seconds run from texts in memory to clusters.

By default Hone looks for copies, and keeps apart what is similar and differs in a number or a name; the exact join is no truth for that.
Its line says which of the pairs that are alike it parts, by what differs between them.

Run: python3 bench/near_duplicates.py [--rows N] [--repeats N]      (a few minutes; datasketch gets an environment of its own)
"""

import argparse
import difflib
import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import debian

DATASKETCH = "datasketch==2.0.0"
NGRAM, BANDS, HASHES, THRESHOLD = 5, 14, 8, 0.8
CACHE = Path(os.environ.get("HONE_CACHE", Path.home() / ".cache" / "hone"))


def shingles(text: str) -> frozenset[str]:
    """As Hone has them: lower case, no accents, punctuation and symbols to a space, decimal numbers whole."""
    text = unicodedata.normalize("NFD", text.lower())
    text = "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Cf"))
    words = re.findall(r"(?:[^\W\d_]+|\d+(?:[.,]\d+)?)+", text)
    n = min(NGRAM, len(words))
    return frozenset(" ".join(words[i : i + n]) for i in range(len(words) - n + 1)) if words else frozenset()


def jaccard(a: frozenset, b: frozenset) -> float:
    common = len(a & b)
    return common / (len(a) + len(b) - common)


class Sets:
    """Which rows are connected."""

    def __init__(self, rows: int):
        self.parent = list(range(rows))

    def root(self, row: int) -> int:
        while self.parent[row] != row:
            self.parent[row] = self.parent[self.parent[row]]
            row = self.parent[row]
        return row

    def join(self, a: int, b: int):
        self.parent[self.root(a)] = self.root(b)

    def clusters(self) -> list[list[int]]:
        found = defaultdict(list)
        for row in range(len(self.parent)):
            found[self.root(row)].append(row)
        return [rows for rows in found.values() if len(rows) > 1]


def by_datasketch(texts: list[str], verify: bool) -> tuple[float, list[list[int]]]:
    from datasketch import MinHash, MinHashLSH

    start = time.perf_counter()
    index, sets, found = MinHashLSH(num_perm=BANDS * HASHES, params=(BANDS, HASHES)), Sets(len(texts)), []
    for row, text in enumerate(texts):
        found.append(shingles(text))
        if not found[row]:
            continue
        minhash = MinHash(num_perm=BANDS * HASHES, seed=1)
        minhash.update_batch([shingle.encode() for shingle in found[row]])
        for other in index.query(minhash):
            if not verify or jaccard(found[row], found[other]) >= THRESHOLD:
                sets.join(row, other)
        index.insert(row, minhash, check_duplication=False)
    return time.perf_counter() - start, sets.clusters()


def truth(texts: list[str]) -> tuple[list[list[int]], dict[float, int]]:
    """Clusters of all pairs that are alike, and how many pairs there are of each similarity."""
    found = [shingles(text) for text in texts]
    often = Counter(itertools.chain.from_iterable(found))
    by_prefix, sets, pairs = defaultdict(list), Sets(len(texts)), Counter()
    for row in sorted(range(len(texts)), key=lambda row: len(found[row])):
        mine = found[row]
        # Two sets that are alike share one of their rarest shingles: as many as may be missing, and one.
        rarest = sorted(mine, key=lambda shingle: (often[shingle], shingle))
        prefix = rarest[: len(mine) - -(-len(mine) * 4 // 5) + 1] if mine else []
        candidates = set(itertools.chain.from_iterable(by_prefix[shingle] for shingle in prefix))
        for other in candidates:
            if len(found[other]) >= THRESHOLD * len(mine):
                similarity = jaccard(mine, found[other])
                if similarity >= THRESHOLD:
                    sets.join(row, other)
                    pairs[round(similarity, 2)] += 1
        for shingle in prefix:
            by_prefix[shingle].append(row)
    return sets.clusters(), pairs


def by_hone(rows: Path, *options: str) -> dict:
    example = ["cargo", "run", "--release", "--quiet", "--package", "hone-curate", "--example", "near_duplicates", "--", rows, *options]
    return json.loads(subprocess.run(example, check=True, capture_output=True, text=True).stdout)


def pairs_together(clusters: list[list[int]]) -> set[tuple[int, int]]:
    return {pair for rows in clusters for pair in itertools.combinations(sorted(rows), 2)}


def what_differs(a: str, b: str) -> str:
    """What tells two texts apart, by the first of these that holds of the words in which they differ."""
    x, y = a.split(), b.split()
    changes = difflib.SequenceMatcher(None, x, y, autojunk=False).get_opcodes()
    hunks = [(x[left:left_end], y[right:right_end]) for tag, left, left_end, right, right_end in changes if tag != "equal"]
    words = [word for hunk in hunks for side in hunk for word in side]
    if any(re.search(r"\d", word) for word in words):
        return "a number"
    if any(min(map(len, hunk)) >= 3 for hunk in hunks):
        return "three words in a row"
    if any(re.search(r"[A-Z]", word) for word in words):
        return "a capital letter"
    if any(re.search(r"[-_/.(=+]\w", word) for word in words):
        return "code or a path"
    return "words added" if all(not left or not right for left, right in hunks) else "another word"


def tell_parted(texts: list[str], together: set, copies: set, sample: int = 3000):
    """What differs between texts that are alike and that Hone takes for rows of their own."""
    parted = sorted(together - copies)
    random.Random(1).shuffle(parted)
    alike = [(texts[a], texts[b]) for a, b in parted[:sample] if jaccard(shingles(texts[a]), shingles(texts[b])) >= THRESHOLD]
    kinds = Counter(what_differs(a, b) for a, b in alike)
    told = ", ".join(f"{kind} {100 * count / max(len(alike), 1):.0f} %" for kind, count in kinds.most_common())
    print(f"hone, telling apart: {len(copies)} pairs, {len(copies - together)} of them not in one cluster of the exact join; it parts {len(parted)} pairs of that")
    print(f"of {len(alike)} of those that are alike themselves differ in: {told}")


def environment() -> Path:
    """A Python that has datasketch."""
    place = CACHE / DATASKETCH.replace("==", "-")
    python = place / "bin/python"
    if not (place / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", DATASKETCH], check=True)
        (place / "complete").touch()
    return python


def told(what: str, arguments: list) -> dict:
    command = [environment(), __file__, "--only", what, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rows", type=int, default=60_000)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--only", help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    rows = debian.descriptions(asked.rows)
    if asked.only:
        texts = [json.loads(line)["text"] for line in rows.open()]
        if asked.only == "truth":
            clusters, pairs = truth(texts)
            print(json.dumps({"clusters": clusters, "pairs": sorted(pairs.items())}))
        else:
            seconds, clusters = by_datasketch(texts, asked.only == "verified")
            print(json.dumps({"seconds": seconds, "clusters": clusters}))
        return
    environment()
    by_hone(rows)
    print(f"{asked.rows} rows, load {os.getloadavg()[0]:.1f}")
    exact = told("truth", ["--rows", asked.rows])
    runs = defaultdict(list)
    for _ in range(asked.repeats):
        runs["hone"].append(by_hone(rows))
        for side in ("datasketch", "verified"):
            runs[side].append(told(side, ["--rows", asked.rows]))
    wanted = pairs_together(exact["clusters"])
    direct = sum(count for _, count in exact["pairs"])
    missed = sum(count * (1 - s**HASHES) ** BANDS for s, count in exact["pairs"])
    print(f"truth: {len(exact['clusters'])} clusters; {direct} pairs at {THRESHOLD} or more, of which the bands miss {missed:.0f} on average")
    print(f"{'side':30} {'seconds':>22} {'clusters':>9} {'precision':>9} {'recall':>7} {'F1':>7}")
    names = {"hone": "hone, verified", "datasketch": f"{DATASKETCH}", "verified": f"{DATASKETCH}, verified"}
    for side, of_side in runs.items():
        together = pairs_together(of_side[0]["clusters"])
        right = len(together & wanted)
        precision, recall = right / max(len(together), 1), right / max(len(wanted), 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        seconds = ", ".join(f"{run['seconds']:.2f}" for run in of_side)
        print(f"{names[side]:30} {seconds:>22} {len(of_side[0]['clusters']):9} {precision:9.4f} {recall:7.4f} {f1:7.4f}")
    texts = [json.loads(line)["text"] for line in rows.open()]
    copies = by_hone(rows, "--tell-apart")
    tell_parted(texts, wanted, pairs_together(copies["clusters"]))
    print(f"telling apart takes {copies['seconds']:.2f} s")
    best = {side: min(run["seconds"] for run in of_side) for side, of_side in runs.items()}
    hone = runs["hone"][0]
    print(f"hone: {hone['bytes'] / 1e6 / best['hone']:.1f} MB/s on {hone['threads']} threads; datasketch takes {best['datasketch'] / best['hone']:.1f} times as long, verified {best['verified'] / best['hone']:.1f}")
    same = {tuple(sorted(rows)) for rows in runs["hone"][0]["clusters"]} & {tuple(sorted(rows)) for rows in runs["verified"][0]["clusters"]}
    print(f"{len(same)} clusters are the same in both, row by row")


if __name__ == "__main__":
    main()
