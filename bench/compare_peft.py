"""Training with Hone against PEFT, TRL and Unsloth on PyTorch: same rows, same tokens, in turns on this machine.

    cargo xtask compare [--peers peft trl unsloth] [-- OPTIONS]
    python bench/compare_peft.py [--peers peft trl] [--rows 192 | --steps N] [--dense TOKENS] [--first-step] …

Each side runs in its own process, and each peer is paired with a run of Hone next to it, so that a noisy minute hits
both. All see every row once per epoch; the order differs, so steps are compared as distributions and runs as wholes.
Loading is not counted. A peer's memory is its peak while training; Hone's is the peak of the whole process, looks at
the held-out rows included. Ratios are the peer's over Hone's: above 1, Hone is faster or smaller. `--first-step` times
Hone alone, from the command to the end of the first step.
"""

import argparse
import hashlib
import json
import math
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HONE = HERE.parent / "target" / "release" / "hone"
CATALOGUE_NAME = "smollm2-135m-instruct"
DATASET = "rust-lints"
PEERS = ["peft", "trl", "unsloth"]
# Load average above which times are remarked on.
BUSY = 0.5


class Failed(Exception):
    """A side ended with an error; the text is what it said."""


def main() -> None:
    arguments = parse()
    arguments.model = arguments.model or pulled_model(arguments.hone)
    if not arguments.dense and not arguments.data:
        built = ask_hone(arguments.hone, "data", "build", DATASET)
        arguments.data, arguments.valid = Path(built["train"]), arguments.valid or Path(built["valid"])
    first_step(arguments) if arguments.first_step else compare(arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, amount = parser.add_argument, parser.add_mutually_exclusive_group()
    add("--peers", nargs="*", default=PEERS, choices=PEERS, help="Hone against these; none: Hone alone")
    add("--hone", type=Path, default=HONE, help="the binary (default: target/release/hone)")
    add("--model", type=Path, help=f"a GGUF file (default: {CATALOGUE_NAME}, as `hone pull` has it)")
    add("--base", choices=["stored", "f32"], default="stored", help="what Hone trains on: the GGUF file, or its weights in f32 as the peers have them")
    add("--data", type=Path, help=f"JSONL of chat messages or texts (default: {DATASET}, with its held-out rows)")
    add("--valid", type=Path, help="held-out rows")
    add("--dense", type=int, metavar="TOKENS", help="made-up rows of exactly this length, every token learnt")
    amount.add_argument("--rows", type=int, help="rows to train on, drawn by seed (default: 192)")
    amount.add_argument("--steps", type=int, help="the same in batches of one epoch")
    add("--valid-rows", type=int, default=64, help="held-out rows to judge by, drawn by seed")
    add("--epochs", type=int, default=1)
    add("--batch-size", type=int, default=8)
    add("--max-length", type=int, default=1024, help="longer rows are left out, on all sides")
    add("--repeats", type=int, default=1, help="pairs of each peer with Hone")
    add("--threads", type=int, default=os.cpu_count())
    add("--rank", type=int, default=16)
    add("--alpha", type=float, default=32)
    add("--lr", type=float, default=2e-4)
    add("--seed", type=int, default=0)
    add("--train-flags", type=shlex.split, default=[], help="more flags for `hone train`, as one argument: '--memory 500MB'")
    add("--first-step", action="store_true", help="seconds from command to first finished step, Hone alone")
    add("--unsloth-python", type=Path, help="interpreter of the environment with Unsloth (`cargo xtask compare` makes it)")
    add("--cache", type=Path, default=default_cache(), help="where the base as a Hugging Face directory is kept")
    add("--json", action="store_true", help="end with one JSON object")
    arguments = parser.parse_args()
    if arguments.dense and (arguments.data or arguments.valid or arguments.first_step):
        parser.error("--dense makes up its rows: it goes with neither --data, --valid nor --first-step")
    arguments.rows = arguments.steps * arguments.batch_size if arguments.steps else arguments.rows or 192
    return arguments


def default_cache() -> Path:
    if own := os.environ.get("HONE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hone"


def pulled_model(hone: Path) -> Path:
    return Path(ask_hone(hone, "pull", CATALOGUE_NAME)["path"])


def ask_hone(hone: Path, *words: str) -> dict:
    if not hone.exists():
        raise SystemExit(f"no binary {hone}: cargo build --release --package hone")
    return json.loads(run([hone, *words, "--json"])[0].splitlines()[-1])


def compare(arguments: argparse.Namespace) -> None:
    runs, left_out = {peer: [] for peer in arguments.peers} | {"hone": []}, {}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="hone-compare-") as place:
        rows = prepare(Path(place), arguments)
        for repeat in range(arguments.repeats):
            for peer in arguments.peers or [None]:
                for side in ["hone", peer] if repeat % 2 == 0 else [peer, "hone"]:
                    if side and peer not in left_out:
                        take_turn(side, peer, Path(place), rows, runs, left_out, arguments)
    report(runs, rows, left_out, load, arguments)


def take_turn(side, peer, place: Path, rows: dict, runs: dict, left_out: dict, arguments) -> None:
    try:
        done = run_hone(place, rows, arguments) if side == "hone" else run_peer(side, place, arguments)
    except Failed as failure:
        if side != "unsloth":
            raise SystemExit(str(failure)) from None
        left_out[side] = str(failure).strip().splitlines()[-1]
        print(f"{side} is left out: {left_out[side]}", file=sys.stderr, flush=True)
        return
    runs[side].append({**done, "against": peer, "examples": rows["train"] * arguments.epochs})
    print(f"{side}: {sum(step['seconds'] for step in done['steps']):.1f} s in {len(done['steps'])} steps", file=sys.stderr, flush=True)


def prepare(place: Path, arguments: argparse.Namespace) -> dict:
    """How many rows there are on both sides of the split; the rows themselves are written to `place`."""
    digest = hashlib.sha256(arguments.model.read_bytes()).hexdigest()[:16]
    arguments.directory = arguments.cache / "compare" / digest
    arguments.directory.parent.mkdir(parents=True, exist_ok=True)
    names = ["directory", "data", "valid", "rows", "valid_rows", "dense", "max_length", "seed"]
    settings = {"gguf": arguments.model, "out": place} | {name: getattr(arguments, name) for name in names}
    output, _ = run([sys.executable, HERE / "peers.py", "prepare", *flags(settings)], talk=sys.stderr)
    rows = json.loads(output)
    if rows["train"] < arguments.rows:
        raise SystemExit(f"{arguments.data} has {rows['train']} usable rows; {arguments.rows} are asked for: lower --rows or --steps")
    return rows


def run_peer(peer: str, place: Path, arguments: argparse.Namespace) -> dict:
    python = arguments.unsloth_python if peer == "unsloth" else Path(sys.executable)
    if python is None:
        raise Failed("it needs an environment of its own: `cargo xtask compare`, or --unsloth-python")
    # The schedule and clipping of `hone train` when nothing else is said.
    settings = {
        "model": arguments.directory, "data": place / "train.ids.jsonl", "valid": place / "valid.ids.jsonl",
        "warmup-ratio": 0.05, "clip": 1.0, **shared(arguments),
    }
    threads = {"OMP_NUM_THREADS": str(arguments.threads)}
    # In `place`, because trainers leave caches where they stand.
    return json.loads(run([python, HERE / "peers.py", peer, *flags(settings)], cwd=place, env=os.environ | threads)[0])


def run_hone(place: Path, rows: dict, arguments: argparse.Namespace) -> dict:
    out = place / "run"
    shutil.rmtree(out, ignore_errors=True)
    steps = arguments.epochs * math.ceil(rows["train"] / arguments.batch_size)
    held_out = {"valid": place / "valid.jsonl"} if rows["valid"] else {"valid-share": 0}
    settings = {
        "model": arguments.model if arguments.base == "stored" else arguments.directory,
        "data": place / "train.jsonl", "out": out, "eval-every": steps, "max-length": arguments.max_length,
        **held_out, **shared(arguments),
    }
    _, peak = run([arguments.hone, "train", *flags(settings), *arguments.train_flags, "--quiet"])
    events = [json.loads(event) for event in (out / "events.jsonl").read_text().splitlines()]
    names = ["seconds", "loss", "tokens", "supervised_tokens"]
    looks = [event["loss"] for event in events if event["event"] == "validated"]
    return {
        "steps": [{name: event[name] for name in names} for event in events if event["event"] == "stepped"],
        "peak_bytes": peak,
        "held_out_loss": looks[-1] if looks else None,
        "base_held_out_loss": looks[0] if looks else None,
        "versions": {"hone": run([arguments.hone, "--version"])[0].split()[-1]},
        "base": [arguments.base],
    }


def shared(arguments: argparse.Namespace) -> dict:
    return {name: getattr(arguments, name) for name in ["batch_size", "epochs", "rank", "alpha", "lr", "threads", "seed"]}


def flags(settings: dict) -> list[str]:
    given = {name.replace("_", "-"): value for name, value in settings.items() if value is not None}
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]


def run(command: list, talk=None, **how) -> tuple[str, int]:
    """Standard output, and the peak resident memory of this one process, which only wait4 tells."""
    command = [str(part) for part in command]
    with tempfile.TemporaryFile("w+") as kept:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=talk or kept, text=True, **how)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            kept.seek(0)
            raise Failed(f"{shlex.join(command)}\nended with {process.returncode}:\n{kept.read()}")
    return output, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def report(runs: dict[str, list[dict]], rows: dict, left_out: dict, load: float, arguments: argparse.Namespace) -> None:
    sides = {side: summary(of_side) for side, of_side in runs.items() if of_side}
    counts = {(side["tokens"], side["supervised_tokens"]) for side in sides.values()}
    if len(counts) > 1:
        raise SystemExit(f"the sides did not train on the same tokens: (all, supervised) = {sorted(counts)}")
    tokens, supervised = counts.pop()
    print(f"{processor()}, {arguments.threads} threads, load {load:.1f} at the start; rank {arguments.rank}, "
          f"pairs a peer {arguments.repeats}")
    print(f"{rows['train']} rows, epochs {arguments.epochs}, batches of {arguments.batch_size}: {tokens} tokens, "
          f"{supervised} supervised; {rows['valid']} rows held out")
    print(f"{'':8} {'s/step':>8} {'examples/s':>10} {'tokens/s':>9} {'peak MB':>8} {'loss':>8} {'held out':>9}")
    for name, side in sides.items():
        print(f"{name:8} {side['step_seconds']:8.3f} {side['examples_per_second']:10.2f} {side['tokens_per_second']:9.0f} "
              f"{side['peak_bytes'] / 1e6:8.0f} {side['train_loss']:8.4f} {shown(side['held_out_loss']):>9}  "
              f"{', '.join(f'{package} {version}' for package, version in side['versions'].items())}; {', '.join(side['base'])}")
    ratios = {peer: ratio(peer, runs, sides) for peer in arguments.peers if peer in sides}
    for peer, against in ratios.items():
        print(f"{peer} against hone: {against['examples_per_second']:.2f} × in examples/s, {against['step_seconds']:.2f} × in time "
              f"per step, {against['peak_bytes']:.1f} × in memory; hone's loss {shown(against['train_loss_difference'], '+.4f')}, "
              f"held-out loss {shown(against['held_out_loss_difference'], '+.4f')} from {peer}'s")
    for peer, reason in left_out.items():
        print(f"{peer} is left out: {reason}")
    if load > BUSY:
        print(f"the machine was busy (load {load:.1f} at the start): losses and memory stand, times do not; PyTorch's threads "
              f"wait actively and suffer most")
    if arguments.json:
        print(json.dumps({"sides": sides, "ratios": ratios, "left_out": left_out, "load": load, "processor": processor()}))


def summary(runs: list[dict]) -> dict:
    """Times are medians over runs, memory is the worst, losses are those of the last run."""
    seconds = statistics.median(run_seconds(run) for run in runs)
    steps = runs[-1]["steps"]
    total = {name: sum(step[name] for step in steps) for name in ["tokens", "supervised_tokens"]}
    return {
        **total,
        "runs": len(runs),
        "run_seconds": seconds,
        "step_seconds": statistics.median(step["seconds"] for run in runs for step in run["steps"]),
        "step_seconds_min": min(step["seconds"] for run in runs for step in run["steps"]),
        "examples_per_second": runs[-1]["examples"] / seconds,
        "tokens_per_second": total["tokens"] / seconds,
        "peak_bytes": max(run["peak_bytes"] for run in runs),
        "train_loss": sum(step["loss"] * step["supervised_tokens"] for step in steps) / total["supervised_tokens"],
        **{name: runs[-1].get(name) for name in ["held_out_loss", "base_held_out_loss", "versions", "base"]},
    }


def ratio(peer: str, runs: dict[str, list[dict]], sides: dict) -> dict:
    """The peer's over Hone's: for times, the median over pairs that ran next to each other."""
    partners = [run for run in runs["hone"] if run["against"] == peer]
    pairs = list(zip(runs[peer], partners, strict=True))
    step = lambda run: statistics.median(step["seconds"] for step in run["steps"])
    difference = lambda name: None if sides[peer][name] is None else sides["hone"][name] - sides[peer][name]
    return {
        "examples_per_second": statistics.median(run_seconds(theirs) / run_seconds(ours) for theirs, ours in pairs),
        "step_seconds": statistics.median(step(theirs) / step(ours) for theirs, ours in pairs),
        "peak_bytes": sides[peer]["peak_bytes"] / sides["hone"]["peak_bytes"],
        "train_loss_difference": difference("train_loss"),
        "held_out_loss_difference": difference("held_out_loss"),
    }


def run_seconds(run: dict) -> float:
    return sum(step["seconds"] for step in run["steps"])


def shown(value: float | None, how: str = ".4f") -> str:
    return "–" if value is None else format(value, how)


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0] if names else "unknown processor"


def first_step(arguments: argparse.Namespace) -> None:
    """With nothing held out, and as by default, where a look at the held-out rows comes before the first step."""
    result = {}
    for name, how in {"nothing held out": ["--valid-share", "0"], "rows held out by default": []}.items():
        seconds = [seconds_to_first_step(how, arguments) for _ in range(arguments.repeats)]
        result[name] = seconds
        print(f"first step, {name}: {', '.join(f'{value:.2f}' for value in seconds)} s from the command", flush=True)
    if arguments.json:
        print(json.dumps({"first_step_seconds": result, "processor": processor()}))


def seconds_to_first_step(how: list[str], arguments: argparse.Namespace) -> float:
    """The run is stopped there; no more of it is needed."""
    with tempfile.TemporaryDirectory(prefix="hone-compare-") as place:
        out = Path(place) / "run"
        settings = {"model": arguments.model, "data": arguments.data, "out": out, **shared(arguments)}
        command = [str(part) for part in [arguments.hone, "train", *flags(settings), *how, *arguments.train_flags, "--quiet"]]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not has_stepped(out / "events.jsonl"):
                if process.poll() is not None:
                    raise SystemExit(f"{shlex.join(command)}\nended with {process.returncode} before its first step, as said above")
                time.sleep(0.005)
            return time.perf_counter() - started
        finally:
            process.terminate()
            process.wait()


def has_stepped(events: Path) -> bool:
    return events.exists() and '"event":"stepped"' in events.read_text()


if __name__ == "__main__":
    main()
