"""Measures what the rules about personal data find of planted values, what they take for some, and what redaction leaves.

    python bench/personal_values.py --seed 7 [--hone target/release/hone] [--misses KIND] [--wrong RULE]

The texts come from `fixtures/scripts/personal_values.py`; seeds 1 to 3 are for developing rules, 7 is held back for figures.
A value is found if hits of a rule of its kind cover all of it. Precision is the share of hits of a rule that touch a planted value of
its kind, among all its hits on planted texts and on those that only look personal. Redaction leaves a value that was found if any file of
the dataset still has it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# The rules whose hits count for a kind, and the recall and precision to reach.
KINDS = {
    "email": ("email", 0.97), "email-idn": ("email", 0.97), "email-hidden": ("email", 0.97), "phone": ("phone", 0.93), "card": ("card", 0.98), "card-expiry": ("card", 0.98),
    "iban": ("iban", 0.99), "national": ("national-number", 0.97), "national-other": ("national-number", 0.85), "ip": ("ip-address", 0.98), "mac": ("mac-address", 0.98),
    "key": ("api-key", 0.90), "password": ("api-key", 0.90), "url-credentials": ("url-credentials", 0.97), "crypto": ("crypto-address", 0.90), "birth-date": ("birth-date", 0.90),
}
RULES = ["email", "phone", "card", "iban", "national-number", "ip-address", "mac-address", "url-credentials", "api-key", "crypto-address", "birth-date"]


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def findings(hone, file):
    """The hits on each line of a file of texts: rule, first byte and end."""
    command = [hone, "data", "check", "--json", "--rule", "duplicate=off", "--rule", "leak=off", file]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode not in (0, 4):
        sys.exit(ran.stderr)
    hits = defaultdict(list)
    for line in ran.stdout.splitlines():
        finding = json.loads(line)
        if finding.get("family") == "personal-data" and finding.get("place") == "text":
            hits[finding["line"]].append((finding["rule"], *finding["span"]))
    return hits


def redaction(hone, data, out):
    """How many values were found in rows, and those that are still in what was written."""
    command = [hone, "data", "build", "--from", data / "rows.jsonl", "--valid-share", "0", "--out", out]
    ran = subprocess.run([*command, "--rule", "duplicate=off", "--rule", "personal-data=redact"], capture_output=True, text=True)
    if ran.returncode not in (0, 4):
        sys.exit(ran.stderr)
    changed = defaultdict(set)
    for finding in lines(out / "findings.jsonl"):
        if finding["decision"] == "changed":
            changed[finding["line"]].add(finding["rule"])
    written = {path.name: path.read_text(encoding="utf-8") for path in out.iterdir()}
    written["terminal"] = ran.stdout + ran.stderr
    found, left = 0, []
    for number, label in enumerate(lines(data / "rows.labels.jsonl"), 1):
        if KINDS[label["kind"]][0] not in changed[number]:
            continue
        found += 1
        # As it is, and as JSON writes it in a text and in a text within a text.
        forms = {label["value"], json.dumps(label["value"])[1:-1], json.dumps(label["value"], ensure_ascii=False)[1:-1]}
        left += [(name, number, label) for name, text in written.items() if any(form in text for form in forms)]
    return found, left


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hone", type=Path, default=ROOT / "target/release/hone")
    parser.add_argument("--misses", help="print what is missed of a kind")
    parser.add_argument("--wrong", help="print what a rule takes for personal")
    parser.add_argument("--no-redaction", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        subprocess.run([sys.executable, ROOT / "fixtures/scripts/personal_values.py", "--seed", str(args.seed), "--out", data], check=True)
        hone = args.hone.resolve()
        planted, labels = lines(data / "planted.jsonl"), lines(data / "planted.labels.jsonl")
        hits, negative_hits = findings(hone, data / "planted.jsonl"), findings(hone, data / "negative.jsonl")
        negatives = lines(data / "negative.jsonl")
        found, all_of, right, wrong = Counter(), Counter(), Counter(), Counter()
        missed_where = defaultdict(Counter)
        for number, (row, label) in enumerate(zip(planted, labels), 1):
            kind, value = label["kind"], label["value"]
            rule = KINDS[kind][0]
            start = len(row["text"][: row["text"].index(value)].encode())
            end = start + len(value.encode())
            all_of[kind] += 1
            covered = any(name == rule and a <= start and end <= b for name, a, b in hits[number])
            found[kind] += covered
            if not covered:
                missed_where[kind][label["locale"]] += 1
                if args.misses == kind:
                    print("missed", label["locale"], label["place"], repr(row["text"]), repr(value), [(h[0], row["text"].encode()[h[1] : h[2]].decode()) for h in hits[number]])
            for name, a, b in hits[number]:
                touches = a < end and start < b
                if name == rule and touches:
                    right[name] += 1
                elif name in RULES and not touches:
                    wrong[name] += 1
                    if args.wrong == name:
                        print("wrong", label["kind"], repr(row["text"]), repr(row["text"].encode()[a:b].decode()))
        for number, row in enumerate(negatives, 1):
            for name, a, b in negative_hits[number]:
                wrong[name] += name in RULES
                if args.wrong == name:
                    print("wrong", "negative", repr(row["text"]), repr(row["text"].encode()[a:b].decode()))
        print(f"\n{'kind':16} {'values':>6} {'recall':>7} {'goal':>5}")
        for kind, (_, goal) in KINDS.items():
            recall = found[kind] / all_of[kind]
            print(f"{kind:16} {all_of[kind]:6} {recall:7.3f} {goal:5} {'' if recall >= goal else 'BELOW ' + str(missed_where[kind].most_common(4))}")
        print(f"\n{'rule':16} {'right':>6} {'wrong':>6} {'precision':>9}   ({len(negatives)} hard negatives)")
        for rule in RULES:
            precision = right[rule] / max(1, right[rule] + wrong[rule])
            print(f"{rule:16} {right[rule]:6} {wrong[rule]:6} {precision:9.3f} {'' if precision >= 0.97 else 'BELOW'}")
        if not args.no_redaction:
            num_found, left = redaction(hone, data, Path(place) / "out")
            print(f"\nredaction: {len(left)} of {num_found} values that were found are left")
            for name, number, label in left[:20]:
                print("left", name, number, label)


if __name__ == "__main__":
    main()
