"""How long `hone data build` takes and how much memory, for one program or for several in turns.

Three sets of rows, each made from the long descriptions of Debian's packages (`debian.py`) with one seed: the
descriptions themselves, instructions of one turn, and conversations of two or three. Each program builds each set
alone on the machine's threads; the sides take turns, so that a noisy hour falls on all of them.

Run: python3 bench/build_speed.py HONE [HONE ...] [--rows N] [--repeats N] [-- OPTION ...]
     (a HONE is a path; several of them are compared with the first; options go to `hone data build`)
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from debian import descriptions

ASKED = (
    "What is {name} for?",
    "Tell me what the package {name} does.",
    "I found {name} on my machine. Do I need it?",
    "Summarise {name} in a few sentences.",
    "Why would somebody install {name}?",
)
FURTHER = ("Can you say more about that?", "And what else should I know of {name}?", "Is there something like {name} that is smaller?", "Thanks. Who is it made for?")
SYSTEM = "You answer questions about Debian packages in plain words."


def sets(rows: int, folder: Path) -> dict[str, Path]:
    """The three sets, a file each."""
    random.seed(1)
    with open(descriptions(60_000)) as lines:
        read = [json.loads(line) for line in lines]
    read = random.sample(read, rows)
    sentences = [sentence.strip() + "." for row in read for sentence in row["text"].replace("\n", " ").split(". ") if len(sentence) > 30]
    made = {
        "descriptions": [{"text": row["text"]} for row in read],
        "instructions": [instruction(row) for row in read],
        "conversations": [conversation(row, sentences) for row in read],
    }
    files = {}
    for name, all_rows in made.items():
        files[name] = folder / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in all_rows))
    return files


def instruction(row: dict) -> dict:
    return {"instruction": random.choice(ASKED).format(name=row["package"]), "output": row["text"]}


def conversation(row: dict, sentences: list[str]) -> dict:
    turns = [("system", SYSTEM), ("user", random.choice(ASKED).format(name=row["package"])), ("assistant", row["text"])]
    for _ in range(random.randint(1, 2)):
        asked = random.choice(FURTHER).format(name=row["package"])
        turns += [("user", asked), ("assistant", " ".join(random.sample(sentences, random.randint(1, 3))))]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def build(hone: str, rows: Path, folder: Path, options: list[str]) -> tuple[float, float, float]:
    """Seconds by the clock, seconds of processor, peak megabytes."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    started = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([hone, "data", "build", "--from", rows, "--out", out, *options], stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 3, 4):  # built, with something left to decide or to look at
            said.seek(0)
            sys.exit(f"{hone} data build ended with {process.returncode}:\n{said.read().decode()}")
    return time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("hone", nargs="+")
    arguments.add_argument("--rows", type=int, default=20_000)
    arguments.add_argument("--repeats", type=int, default=3)
    argv, _, options = " ".join(sys.argv[1:]).partition(" -- ")
    asked = arguments.parse_args(argv.split())
    print("load", " ".join(f"{load:.1f}" for load in os.getloadavg()), "threads", os.cpu_count())
    print(f"{'rows':14} {'program':28} {'clock s':>16} {'processor s':>16} {'peak MB':>10}   minimum and median of {asked.repeats}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # In a process of its own: what is started counts the memory of its parent as its own.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
            files = apart.submit(sets, asked.rows, folder).result()
        for name, file in files.items():
            runs = {hone: [] for hone in asked.hone}
            for _ in range(asked.repeats):
                for hone in asked.hone:
                    runs[hone].append(build(hone, file, folder, options.split()))
            first = None
            for hone, measured in runs.items():
                clock, processor, peak = zip(*measured)
                first = first or (min(clock), min(processor), min(peak))
                ratio = f"   {min(clock) / first[0]:.2f} x, {min(processor) / first[1]:.2f} x, {min(peak) / first[2]:.2f} x"
                figures = f"{min(clock):7.2f} {statistics.median(clock):8.2f} {min(processor):7.2f} {statistics.median(processor):8.2f} {min(peak):10.0f}"
                print(f"{name:14} {hone[-28:]:28} {figures}{ratio if len(runs) > 1 else ''}", flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
