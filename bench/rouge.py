"""Times ROUGE-1, -2, -L and -Lsum beside rouge_score, on the same pairs in one run, and wants the same numbers.

    python bench/rouge.py [--rows 500] [--words 120] [--repeats 5] [--scorer target/release/examples/rouge_of_pairs]

Needs rouge-score==0.1.2. The pairs are made of a seeded list of words: a target of about `--words` words in lines of
about twenty, and a prediction that keeps most of them. Both sides run on one thread; the fastest of `--repeats` counts, in turns.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rouge_score.rouge_scorer import RougeScorer

ROOT = Path(__file__).resolve().parents[1]
TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]


def pairs(rows: int, words: int) -> list[dict]:
    dice = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    endings = ["", "", "", "s", "ing", "ed", "ation", "ness", "ly"]
    vocabulary = ["".join(dice.choice(letters) for _ in range(dice.randint(2, 7))) + dice.choice(endings) for _ in range(5000)]
    # A few words are most of a text, as in any language.
    weights = [1 / (rank + 3) for rank in range(len(vocabulary))]
    made = []
    for _ in range(rows):
        target = dice.choices(vocabulary, weights, k=max(1, int(dice.gauss(words, words / 4))))
        said = [dice.choices(vocabulary, weights)[0] if dice.random() < 0.4 else word for word in target if dice.random() < 0.85]
        made.append({"target": lines(dice, target), "prediction": lines(dice, said)})
    return made


def lines(dice: random.Random, words: list[str]) -> str:
    return "".join(word + (".\n" if dice.random() < 0.05 else " ") for word in words)


def theirs(rows: list[dict], stemmer: bool) -> tuple[float, list]:
    scorer = RougeScorer(TYPES, use_stemmer=stemmer)
    started = time.perf_counter()
    found = [scorer.score(row["target"], row["prediction"]) for row in rows]
    seconds = time.perf_counter() - started
    return seconds, [[scores[name].fmeasure for name in TYPES] for scores in found]


def ours(scorer: Path, file: Path, stemmer: bool) -> tuple[float, list]:
    command = [scorer, file, "--repeats", "1"] + ["--stemmer"] * stemmer
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return min(said["seconds"]), said["scores"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--words", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scorer", type=Path, help="built if none is given")
    args = parser.parse_args()
    if args.scorer is None:
        subprocess.run(["cargo", "build", "--release", "--quiet", "--package", "hone-eval", "--example", "rouge_of_pairs"], check=True, cwd=ROOT)
        args.scorer = ROOT / "target/release/examples/rouge_of_pairs"
    rows = pairs(args.rows, args.words)
    print(f"load {os.getloadavg()[0]:.2f}; {args.rows} pairs of about {args.words} words; the fastest of {args.repeats}, in turns")
    print(f"{'':10} {'rouge_score':>12} {'Hone':>10} {'ratio':>7}")
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "pairs.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        for name, stemmer in (("plain", False), ("stemmed", True)):
            times = ([], [])
            for _ in range(args.repeats):
                (first, expected), (second, scores) = theirs(rows, stemmer), ours(args.scorer, file, stemmer)
                if scores != expected:
                    sys.exit(f"{name}: the scores differ")
                times[0].append(first)
                times[1].append(second)
            slow, fast = map(min, times)
            print(f"{name:10} {slow:10.3f} s {fast * 1000:7.2f} ms {slow / fast:6.0f} x")


if __name__ == "__main__":
    main()
