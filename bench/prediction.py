"""What `hone train` predicts against what its run then shows: peak memory of the process, and seconds a step.

    cargo build --release --package hone && python3 bench/prediction.py [--steps 6] [--base-f32 DIR]

Each configuration is planned with `--dry-run`, which times a step, and then run. Prints a Markdown table for
docs/prediction.md. Needs the built binary and the pulled base, and no package.
"""

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path

from compare_peft import DATASET, HONE, ask_hone, pulled_model, run

UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hone", type=Path, default=HONE)
    parser.add_argument("--base-f32", type=Path, help="the base in f32 as a Hugging Face directory; without it that row is left out")
    parser.add_argument("--steps", type=int, default=6, help="steps of each run")
    arguments = parser.parse_args()
    stored = pulled_model(arguments.hone)
    real = Path(ask_hone(arguments.hone, "data", "build", DATASET)["train"]).read_text().splitlines()

    print("| base | rows | layers kept | peak memory, planned | shown | off by | s a step, planned | shown | off by |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="hone-prediction-") as place:
        for name, flags, rows, batch_size in configurations(stored, arguments.base_f32, real):
            data = Path(place) / "rows.jsonl"
            data.write_text("\n".join(rows[: arguments.steps * batch_size]) + "\n")
            out = Path(place) / "run"
            shutil.rmtree(out, ignore_errors=True)
            command = [arguments.hone, "train", *flags, "--data", data, "--valid-share", 0, "--epochs", 1,
                       "--batch-size", batch_size, "--max-length", 2048, "--out", out]
            print(row(name, plan(command), shown(command, out)), flush=True)


def configurations(stored: Path, f32: Path | None, real: list[str]):
    """Kinds of base by kinds of rows, everything kept and, under a memory limit, computed again."""
    long = [json.dumps({"text": " ".join(real[i : i + 12])[:4000]}) for i in range(0, len(real) - 12, 12)]
    bases = [("Q4_1 as stored", ["--model", stored]), ("NF4", ["--model", stored, "--method", "qlora"])]
    if f32:
        bases.append(("f32", ["--model", f32]))
    for base, flags in bases:
        yield f"{base} | 8 of rust-lints", flags, real, 8
        yield f"{base} | 2 of about 1,000 tokens", flags, long, 2
    for limit in ["700MB", "450MB"]:
        yield f"Q4_1, --memory {limit} | 8 of rust-lints", [*bases[0][1], "--memory", limit], real, 8
    yield "Q4_1, bf16 activations | 8 of rust-lints", [*bases[0][1], "--activations", "bf16"], real, 8


def plan(command: list) -> dict:
    """Bytes and seconds a step, as the plan says them."""
    with tempfile.TemporaryFile("w+") as talk:
        run([*command, "--dry-run"], talk=talk)
        talk.seek(0)
        text = talk.read()
    size, unit, layers = re.search(r"memory needed\s+about ([\d.]+) (\w+), (\d+) of", text).groups()
    seconds = re.search(r"time\s+about .*?\(([^)]*) a step\)", text).group(1)
    return {"bytes": float(size) * UNITS[unit], "layers": layers, "seconds": float(seconds.removesuffix(" s"))}


def shown(command: list, out: Path) -> dict:
    _, peak = run([*command, "--quiet"])
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    seconds = [event["seconds"] for event in events if event["event"] == "stepped"]
    return {"bytes": peak, "seconds": sum(seconds) / len(seconds)}


def row(name: str, planned: dict, shown: dict) -> str:
    def off(what: str) -> str:
        return f"{100 * (planned[what] / shown[what] - 1):+.0f} %"

    return (f"| {name} | {planned['layers']} | {planned['bytes'] / 1e6:.0f} MB | {shown['bytes'] / 1e6:.0f} MB | {off('bytes')} "
            f"| {planned['seconds']:.1f} | {shown['seconds']:.2f} | {off('seconds')} |")


if __name__ == "__main__":
    main()
