"""Builds datasets from rows whose truth is known and prints what was lost, found and missed.

The rows come from fixtures/scripts/curation_rows.py, which says what each kind is. For each kind `hone data build` makes a dataset, and
`hone data check` looks at what it made: nothing is to be found across its own sides.

Run: python3 bench/curation.py --hone target/debug/hone [--seed N] [--rows N] [--kind K]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "fixtures/scripts"
sys.path.insert(0, str(SCRIPTS))
import curation_rows as made  # noqa: E402

ACROSS_SIDES = {"exact-duplicate", "near-duplicate", "same-prompt", "semantic-duplicate"}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def hone(binary: Path, *arguments) -> subprocess.CompletedProcess:
    # What a build would stop for is what is measured here.
    whatever = ["--max-dropped", "1"] if arguments[0] == "build" else []
    ran = subprocess.run([binary, "data", *map(str, arguments), *whatever], capture_output=True, text=True)
    if ran.returncode not in (0, 4):
        sys.exit(f"hone data {' '.join(map(str, arguments))} ended with {ran.returncode}\n{ran.stderr}")
    return ran


def left(dataset: Path) -> set[int]:
    return {finding["line"] for finding in lines(dataset / "findings.jsonl") if finding["decision"] == "dropped"}


def rows_of(dataset: Path, side: str) -> int:
    return len(lines(dataset / f"{side}.jsonl"))


def templated(binary: Path, folder: Path, out: Path) -> dict:
    hone(binary, "build", "--from", folder / "rows.jsonl", "--valid-share", "0", "--out", out)
    return {"rows": len(lines(folder / "rows.jsonl")), "good rows lost": len(left(out))}


def copies(binary: Path, folder: Path, out: Path) -> dict:
    hone(binary, "build", "--from", folder / "rows.jsonl", "--valid-share", "0", "--out", out)
    gone, key = left(out), lines(folder / "key.jsonl")
    planted = {entry["line"]: entry for entry in key}
    # Of a pair either may leave.
    found = [entry for entry in key if entry["line"] in gone or entry["of"] in gone]
    wrong = gone - set(planted) - {entry["of"] for entry in key}
    told = {"planted": len(key), "recall": f"{len(found) / len(key):.3f}", "good rows lost": len(wrong)}
    for how in sorted({entry["how"] for entry in key}):
        of_kind = [entry for entry in key if entry["how"] == how]
        told[how] = f"{sum(entry in found for entry in of_kind)} of {len(of_kind)}"
    return told


def related(binary: Path, folder: Path, out: Path) -> dict:
    # Near rows are kept, so that the split and not the duplicates has to hold them together.
    hone(binary, "build", "--from", folder / "rows.jsonl", "--valid-share", "0.2", "--out", out)
    checked = hone(binary, "check", out, "--json")
    found = [told for told in map(json.loads, checked.stdout.splitlines()) if "rule" in told]
    # A duplicate is across sides where the other row stands in another file.
    across = [finding for finding in found if finding["family"] == "leak"]
    across += [finding for finding in found if finding["rule"] in ACROSS_SIDES and Path(finding["file"]).name not in finding.get("other", "")]
    return {"rows": len(lines(folder / "rows.jsonl")), "held out": rows_of(out, "valid"), "left": len(left(out)), "findings across its sides": len(across)}


def leaks(binary: Path, folder: Path, out: Path) -> dict:
    key = {entry["line"]: entry["how"] for entry in lines(folder / "key.jsonl")}
    told = {}
    for name, more in [("benchmark", ["--benchmark", folder / "test.jsonl"]), ("test side", [])]:
        if more:
            hone(binary, "build", "--from", folder / "rows.jsonl", "--valid-share", "0.2", *more, "--out", out)
        else:
            recipe = folder / "recipe.toml"
            recipe.write_text(
                '[[sources]]\nfiles = ["rows.jsonl"]\n[[sources]]\nfiles = ["test.jsonl"]\nside = "test"\n[split]\nvalid = 0.0\n', encoding="utf-8"
            )
            out = out.with_name(out.name + "-test")
            hone(binary, "build", recipe, "--out", out)
            told["test rows kept"] = f"{rows_of(out, 'test')} of {len(lines(folder / 'test.jsonl'))}"
        findings = [finding for finding in lines(out / "findings.jsonl") if Path(finding["file"]).name == "rows.jsonl"]
        by_rule: dict[str, set[int]] = {}
        for finding in findings:
            if finding["family"] == "leak" or finding["family"] == "duplicate":
                by_rule.setdefault(finding["rule"], set()).add(finding["line"])
        found = set().union(*(rows for rule, rows in by_rule.items()))
        planted = {line for line, how in key.items() if how != "innocent"}
        right = found & planted
        told[name] = f"{len(found)} found, precision {len(right) / max(len(found), 1):.3f}"
        for how in sorted({how for how in key.values() if how != "innocent"}):
            of_kind = {line for line, kind in key.items() if kind == how}
            told[f"{name}, {how}"] = f"{len(found & of_kind)} of {len(of_kind)}"
        told[f"{name}, by rule"] = ", ".join(f"{rule} {len(rows)}" for rule, rows in sorted(by_rule.items()))
    return told


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--hone", type=Path, default=Path("target/release/hone"))
    arguments.add_argument("--seed", type=int, nargs="+", default=[1])
    arguments.add_argument("--rows", type=int, default=300)
    arguments.add_argument("--kind", nargs="+", choices=made.KINDS, default=made.KINDS)
    asked = arguments.parse_args()
    for seed in asked.seed:
        with tempfile.TemporaryDirectory() as work:
            for kind in asked.kind:
                command = ["--seed", seed, "--kind", kind, "--rows", asked.rows, "--out", work]
                subprocess.run([sys.executable, SCRIPTS / "curation_rows.py", *map(str, command)], check=True)
                measure = templated if kind in made.TEMPLATED else copies if kind in made.COPIED else leaks if kind == "leaks" else related
                told = measure(asked.hone.resolve(), Path(work) / kind, Path(work) / f"{kind}-built")
                print(f"seed {seed}  {kind:18} " + "; ".join(f"{name} {value}" for name, value in told.items()), flush=True)


if __name__ == "__main__":
    main()
