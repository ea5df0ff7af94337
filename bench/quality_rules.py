"""Measures what the rules about replies, encodings, harm and licences find of hard rows, and what they take for a fault.

    python bench/quality_rules.py --seed 7 [--hone target/release/hone] [--misses RULE] [--wrong RULE]

The rows come from `quality_rows.py`, `harm_rows.py` and `licence_rows.py` in `fixtures/scripts/`; seeds 1 to 3 are for developing rules, 7 is held back for figures. Recall is the
share of the rows with the fault that have a finding of the rule, precision the share of rows with a finding that have the fault.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The files of hard rows, by the rule that is measured and, where there are several, a word; and the scripts that write them.
RULES = ["refusal", "refusal-second", "assistant-self", "assistant-self-second", "truncated-reply", "mojibake", "reply-language", "harmful-text", "restrictive-licence"]
SCRIPTS = ["quality_rows.py", "harm_rows.py", "licence_rows.py"]


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


# Rules that look for the same as another, elsewhere.
WITH = {"restrictive-licence": {"rights-reserved"}}


def found(hone, file, rule):
    """The lines of a file in which the rule finds something."""
    rules = {rule} | WITH.get(rule, set())
    ran = subprocess.run([hone, "data", "check", "--json", "--rule", "duplicate=off", "--rule", "leak=off", "--rule", "personal-data=off", file], capture_output=True, text=True)
    if ran.returncode not in (0, 4):
        sys.exit(ran.stderr)
    findings = map(json.loads, ran.stdout.splitlines())
    return {finding["line"] for finding in findings if finding.get("rule") in rules}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hone", type=Path, default=ROOT / "target/release/hone")
    parser.add_argument("--misses", help="print what this rule misses")
    parser.add_argument("--wrong", help="print what this rule takes for a fault")
    parser.add_argument("--rule", choices=RULES, action="append", help="this rule only")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        data = Path(place)
        for script in SCRIPTS:
            subprocess.run([sys.executable, ROOT / "fixtures/scripts" / script, "--seed", str(args.seed), "--out", data], check=True)
        print(f"{'rule':21} {'rows':>5} {'faults':>6} {'recall':>7} {'precision':>9}")
        for rule in args.rule or RULES:
            file = data / f"{rule}.jsonl"
            rows, labels = lines(file), lines(data / f"{rule}.labels.jsonl")
            hits = found(args.hone, file, rule.removesuffix("-second"))
            faults = {number for number, label in enumerate(labels, 1) if label["hit"]}
            print(f"{rule:21} {len(rows):5} {len(faults):6} {len(hits & faults) / len(faults):7.3f} {len(hits & faults) / max(len(hits), 1):9.3f}")
            for name, numbers in ((args.misses, faults - hits), (args.wrong, hits - faults)):
                if name != rule:
                    continue
                groups = defaultdict(set)
                for number in numbers:
                    row = rows[number - 1]
                    groups[labels[number - 1]["kind"]].add(row.get("text") or " ⇒ ".join(turn["content"] for turn in row["messages"]) + str(row.get("licence") or row.get("license") or ""))
                for kind, texts in sorted(groups.items()):
                    for text in sorted(texts):
                        print(f"    {kind}: {text[:400]!r}")


if __name__ == "__main__":
    main()
