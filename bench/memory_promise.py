"""Whether runs keep the memory that their plans promise: never more, and not much less.

    cargo build --release --package hone && python3 bench/memory_promise.py [--hone PROGRAM] [--steps 3]

Each configuration is run once. What its plan says it needs, which `--memory` bounds where it is given, is compared with
the most that the process had in memory, as the kernel counts it. Prints a Markdown table for docs/prediction.md, and ends
with an error where a peak is above its promise or below 0.85 of it. The pulled base, its weights in f32, which are made
here, and a fixture; no package is needed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from compare_peft import DATASET, HONE, ask_hone, processor, pulled_model, run
from prediction import UNITS

LEAST = 0.85
FIXTURE = Path(__file__).parent.parent / "fixtures/models/tiny-llama-untied"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hone", type=Path, default=HONE)
    parser.add_argument("--steps", type=int, default=3, help="steps of each run")
    parser.add_argument("--only", nargs="*", help="configurations whose names contain one of these")
    arguments = parser.parse_args()
    rows = Path(ask_hone(arguments.hone, "data", "build", DATASET)["train"]).read_text().splitlines()
    print(f"{processor()}, {os.cpu_count()} of it, {subprocess.check_output([arguments.hone, '--version'], text=True).strip()}\n")
    print("| configuration | promised | peak | of it |")
    print("|---|---|---|---|")
    kept = []
    with tempfile.TemporaryDirectory(prefix="hone-memory-") as place:
        for name, base, flags, batch_size in CONFIGURATIONS:
            if arguments.only and not any(word in name for word in arguments.only):
                continue
            model = bases(arguments.hone, Path(place))[base]()
            data = Path(place) / "rows.jsonl"
            data.write_text("\n".join(rows[: arguments.steps * batch_size]) + "\n")
            out = Path(place) / name.replace(" ", "-")
            command = [arguments.hone, "train", "--model", model, *flags.split(), "--data", data, "--valid-share", 0,
                       "--epochs", 1, "--batch-size", batch_size, "--out", out]
            promised, peak = promise_and_peak(command)
            kept.append(LEAST * promised <= peak <= promised)
            print(f"| {name} | {promised / 1e6:.0f} MB | {peak / 1e6:.0f} MB | {peak / promised:.2f} |", flush=True)
    if not all(kept):
        sys.exit(f"{kept.count(False)} of {len(kept)} are outside of their promise")


# Name, base, flags, examples a step.
CONFIGURATIONS = [
    ("Q4_1 as stored", "stored", "", 8),
    ("Q4_1, rank 64, --memory 700MB", "stored", "--rank 64 --alpha 64 --memory 700MB", 8),
    ("Q4_1, --memory 450MB", "stored", "--memory 450MB", 8),
    ("Q4_1, DoRA, bf16 activations", "stored", "--dora --activations bf16", 8),
    ("NF4, --memory 600MB", "stored", "--method qlora --memory 600MB", 8),
    ("NF4, 8-bit AdamW, attention only", "stored", "--method qlora --optimizer adamw8bit --targets q_proj,v_proj", 8),
    ("f32", "f32", "", 8),
    ("f32, --memory 900MB", "f32", "--memory 900MB", 8),
    ("f32 streamed, --memory 400MB", "f32", "--memory 400MB --max-length 256", 4),
    ("a fixture of two layers", "tiny", "", 8),
]


def bases(hone: Path, place: Path) -> dict:
    """How each kind of base comes to be."""
    return {"stored": lambda: pulled_model(hone), "f32": lambda: in_f32(hone, place), "tiny": lambda: FIXTURE}


def in_f32(hone: Path, place: Path) -> Path:
    """The pulled base with all its weights in f32, as a Hugging Face directory: an adapter of one step is merged into it."""
    directory, adapter = place / "f32", place / "one-step"
    if not directory.exists():
        row = place / "row.jsonl"
        row.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
        base = ["--model", pulled_model(hone), "--quiet"]
        run([hone, "train", *base, "--data", row, "--valid-share", 0, "--epochs", 1, "--rank", 1, "--out", adapter])
        run([hone, "merge", *base, "--adapter", adapter / "adapter", "--dtype", "f32", "--replies", 0, "--out", directory])
    return directory


def promise_and_peak(command: list) -> tuple[float, int]:
    """Bytes that the plan says it needs, and those that the process had at most."""
    with tempfile.TemporaryFile("w+") as talk:
        _, peak = run(command, talk=talk)
        talk.seek(0)
        said = talk.read()
    size, unit = re.search(r"memory needed\s+about ([\d.]+) (\w+)", said).groups()
    return float(size) * UNITS[unit], peak


if __name__ == "__main__":
    main()
