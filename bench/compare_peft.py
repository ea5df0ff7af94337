"""A training step of Hone against one of PEFT + PyTorch f32: same rows, same tokens, alternately on this machine.

    python bench/compare_peft.py [--model FILE.gguf] [--data ROWS.jsonl] [--steps 4] [--batch-size 8] [--repeats 3]

Each side runs in its own process, in turns, so that a noisy minute hits both. Both see every row once per run; the
order differs, so steps are compared as distributions and runs as wholes. Loading is not counted, memory is the
process's peak. The ratio is PEFT's seconds over Hone's for the same tokens: above 1, Hone is faster.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
HONE = HERE.parent / "target" / "release" / "hone"
CATALOGUE_NAME = "smollm2-135m-instruct"


def main() -> None:
    arguments = parse()
    model = arguments.model or pulled_model(arguments.hone)
    runs = {"peft": [], "hone": []}
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as place:
        rows = Path(place) / "rows.jsonl"
        write_rows(rows, arguments)
        for repeat in range(arguments.repeats):
            for side in arguments.only:
                done = run_hone(model, rows, arguments) if side == "hone" else run_peer(side, model, rows, arguments)
                runs[side].append(done)
                print(f"run {repeat + 1} {line(side, [done])}", file=sys.stderr, flush=True)
    report(runs, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hone", type=Path, default=HONE, help="the binary (default: target/release/hone)")
    parser.add_argument("--model", type=Path, help=f"a GGUF file (default: {CATALOGUE_NAME}, as `hone pull` has it)")
    parser.add_argument("--data", type=Path, help="JSONL of chat messages (default: rows made up here)")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=32)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=["peft", "hone"], choices=["peft", "hone"], help="these sides only")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    return parser.parse_args()


def pulled_model(hone: Path) -> Path:
    answer = subprocess.run([hone, "pull", CATALOGUE_NAME, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return Path(json.loads(answer.stdout.splitlines()[-1])["path"])


def write_rows(path: Path, arguments: argparse.Namespace) -> None:
    count = arguments.steps * arguments.batch_size
    given = arguments.data.read_text().splitlines() if arguments.data else made_up_rows(count, arguments.seed)
    if len(given) < count:
        raise SystemExit(f"{arguments.data} has {len(given)} rows; {count} are needed: lower --steps or --batch-size")
    path.write_text("\n".join(given[:count]) + "\n")


def made_up_rows(count: int, seed: int) -> list[str]:
    """Chats of some 60 to 250 tokens. The words matter little; that lengths vary as in real data does."""
    rng = random.Random(seed)
    nouns = "lamp river kettle bridge letter garden winter window harbour violin market shadow ladder engine".split()
    verbs = "holds finds carries forgets mends follows paints answers counts hides opens keeps".split()
    manners = "slowly at once without a word before noon every year by mistake with care in the rain".split()

    def sentence() -> str:
        return f"The {rng.choice(nouns)} {rng.choice(verbs)} the {rng.choice(nouns)} {rng.choice(manners)}."

    def text(least: int, most: int) -> str:
        return " ".join(sentence() for _ in range(rng.randint(least, most)))

    def row() -> str:
        messages = [
            {"role": "system", "content": "You retell small stories in your own words."},
            {"role": "user", "content": f"Retell this: {text(3, 16)}"},
            {"role": "assistant", "content": text(1, 8)},
        ]
        return json.dumps({"messages": messages})

    return [row() for _ in range(count)]


def run_peer(peer: str, model: Path, rows: Path, arguments: argparse.Namespace) -> dict:
    # The schedule and clipping of `hone train` when nothing else is said.
    settings = {"warmup-ratio": 0.05, "clip": 1.0, **shared(model, rows, arguments)}
    output, peak = run([sys.executable, HERE / "peers.py", peer, *flags(settings)])
    return {**json.loads(output.splitlines()[-1]), "peak_bytes": peak}


def run_hone(model: Path, rows: Path, arguments: argparse.Namespace) -> dict:
    out = rows.with_name("run")
    shutil.rmtree(out, ignore_errors=True)
    # Nothing is held out: every row is trained on, as by the peer.
    settings = {**shared(model, rows, arguments), "epochs": 1, "valid-share": 0, "out": out}
    output, peak = run([arguments.hone, "train", *flags(settings), "--json"])
    result = json.loads(output.splitlines()[-1])
    events = [json.loads(event) for event in (out / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "stepped"]
    return {
        "step_seconds": [step["seconds"] for step in steps],
        "step_tokens": [step["tokens"] for step in steps],
        "step_losses": [step["loss"] for step in steps],
        "tokens": sum(step["tokens"] for step in steps),
        "supervised_tokens": sum(step["supervised_tokens"] for step in steps),
        "train_loss": weighted_loss(steps),
        "reported": result,
        "peak_bytes": peak,
    }


def weighted_loss(steps: list[dict]) -> float:
    tokens = sum(step["supervised_tokens"] for step in steps)
    return sum(step["loss"] * step["supervised_tokens"] for step in steps) / tokens


def shared(model: Path, rows: Path, arguments: argparse.Namespace) -> dict:
    names = ["batch_size", "rank", "alpha", "lr", "threads", "seed"]
    return {"model": model, "data": rows} | {name.replace("_", "-"): getattr(arguments, name) for name in names}


def flags(settings: dict) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def run(command: list) -> tuple[str, int]:
    """Standard output, and the peak resident memory of this one process, which only wait4 tells."""
    command = [str(part) for part in command]
    with tempfile.TemporaryFile("w+") as talk:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=talk, text=True)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            talk.seek(0)
            raise SystemExit(f"{' '.join(command)}\nended with {process.returncode}:\n{talk.read()}")
    return output, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def report(runs: dict[str, list[dict]], arguments: argparse.Namespace) -> None:
    runs = {side: list_of_runs for side, list_of_runs in runs.items() if list_of_runs}
    counts = {(run["tokens"], run["supervised_tokens"]) for list_of_runs in runs.values() for run in list_of_runs}
    if len(counts) > 1:
        raise SystemExit(f"the sides did not train on the same tokens: (all, supervised) = {sorted(counts)}")
    print(f"{arguments.steps} steps of {arguments.batch_size} examples, {arguments.threads} threads, rank {arguments.rank}, "
          f"{arguments.repeats} runs each; {counts.pop()[0]} tokens a run")
    for side, list_of_runs in runs.items():
        print(line(side, list_of_runs))
    result = {side: summary(list_of_runs, arguments) for side, list_of_runs in runs.items()}
    if len(runs) == 2:
        result["ratio"] = {
            "median": result["peft"]["run_seconds_median"] / result["hone"]["run_seconds_median"],
            "best": result["peft"]["run_seconds_min"] / result["hone"]["run_seconds_min"],
        }
        print(f"ratio: PEFT takes {result['ratio']['median']:.2f} times Hone's seconds "
              f"(median run; best run {result['ratio']['best']:.2f})")
    if arguments.json:
        print(json.dumps(result))


def summary(runs: list[dict], arguments: argparse.Namespace) -> dict:
    steps = [seconds for run in runs for seconds in run["step_seconds"]]
    totals = [sum(run["step_seconds"]) for run in runs]
    return {
        "step_seconds_min": min(steps),
        "step_seconds_median": statistics.median(steps),
        "run_seconds_min": min(totals),
        "run_seconds_median": statistics.median(totals),
        "examples_per_second": arguments.steps * arguments.batch_size / statistics.median(totals),
        "tokens_per_second": runs[0]["tokens"] / statistics.median(totals),
        "peak_bytes": max(run["peak_bytes"] for run in runs),
        "train_losses": [run["train_loss"] for run in runs],
        "first_step_losses": [run["step_losses"][0] for run in runs],
    }


def line(side: str, runs: list[dict]) -> str:
    steps = [seconds for run in runs for seconds in run["step_seconds"]]
    seconds = statistics.median(sum(run["step_seconds"]) for run in runs)
    return (
        f"{side}: step min {min(steps):.3f} s, median {statistics.median(steps):.3f} s; "
        f"{runs[0]['tokens'] / seconds:.0f} tokens/s; peak {max(run['peak_bytes'] for run in runs) / 1e6:.0f} MB; "
        f"loss {', '.join(format(run['train_loss'], '.4f') for run in runs)}"
    )


if __name__ == "__main__":
    main()
