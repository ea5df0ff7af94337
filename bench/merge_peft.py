"""Merging with Hone against PEFT's merge_and_unload and save_pretrained: the same base and adapter, in turns, each from cold.

    cargo xtask compare-merge [-- OPTIONS]
    python bench/merge_peft.py [--repeats 5] [--adapter DIR] [--dtype f32] …

The base is SmolLM2-135M-Instruct in f32, the adapter of rank 16 on all seven projections. A side is timed from its
command to the end of its process: PEFT imports, loads both, merges and saves; Hone loads both, merges, saves, replays
texts through what it wrote and through base and adapter, and hashes both. Afterwards each side runs once more to have
its memory looked at every few milliseconds: anonymous memory is what there is beyond mapped files. Ends with the
greatest difference between the two merged models.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare_peft import BUSY, HERE, HONE, default_cache, processor, pulled_model
from peaks import ANONYMOUS, RESIDENT, watch_memory

SCRIPTS = HERE.parent / "fixtures" / "scripts"


def main() -> None:
    if sys.argv[1:2] == ["merge"]:
        return merge_with_peft(*sys.argv[2:])
    arguments = parse()
    base = prepare_base(arguments)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="hone-merge-", dir=arguments.place) as place:
        adapter = arguments.adapter or prepare_adapter(base, Path(place) / "adapter")
        commands = {
            "hone": lambda out: [arguments.hone, "merge", "--model", base, "--adapter", adapter, "--dtype", arguments.dtype,
                                 "--threads", arguments.threads, "--out", out, "--quiet", "--json"],
            "peft": lambda out: [sys.executable, __file__, "merge", base, adapter, arguments.dtype, out],
        }
        seconds, said = {side: [] for side in commands}, {}
        for repeat in range(arguments.repeats):
            for side in list(commands) if repeat % 2 == 0 else reversed(commands):
                out = Path(place) / side
                shutil.rmtree(out, ignore_errors=True)
                taken, said[side] = run(commands[side](out), arguments.threads)
                seconds[side].append(taken)
                print(f"{side}: {taken:.2f} s", file=sys.stderr, flush=True)
        memory = {side: watch(commands[side](Path(place) / f"{side}-watched"), arguments.threads) for side in commands}
        difference = greatest_difference(Path(place) / "hone", Path(place) / "peft")
    report(seconds, memory, json.loads(said["hone"].splitlines()[-1]), difference, load, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--hone", type=Path, default=HONE, help="the binary (default: target/release/hone)")
    add("--repeats", type=int, default=5, help="pairs of runs")
    add("--adapter", type=Path, help="another adapter of this base, `RUN/adapter` for example (default: one is made)")
    add("--dtype", default="f32", choices=["f32", "bf16", "f16"], help="of the merged model")
    add("--threads", type=int, default=os.cpu_count())
    add("--place", type=Path, help="a directory for what is written, about 2.5 GB (default: the system's for temporary files)")
    add("--cache", type=Path, default=default_cache(), help="where the base as a Hugging Face directory is kept")
    add("--json", action="store_true", help="end with one JSON object")
    return parser.parse_args()


def prepare_base(arguments: argparse.Namespace) -> Path:
    """The pulled GGUF file as a directory in f32, shared with compare_peft.py."""
    sys.path.insert(0, str(SCRIPTS))
    model = pulled_model(arguments.hone)
    base = arguments.cache / "compare" / hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    if not base.exists():
        import golden_smollm2
        import gguf
        import peers

        base.parent.mkdir(parents=True, exist_ok=True)
        reader = gguf.GGUFReader(model)
        tokenizer = golden_smollm2.read_tokenizer(reader)
        end = tokenizer.id_to_token(reader.get_field("tokenizer.ggml.eos_token_id").contents())
        peers.write_directory(model, tokenizer, reader.get_field("tokenizer.chat_template").contents(), end, base)
    return base


def prepare_adapter(base: Path, out: Path) -> Path:
    import deploy_adapters
    import numpy as np

    config = json.loads((base / "config.json").read_text())
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    deploy_adapters.write(config, dict(r=16, lora_alpha=32), np.random.default_rng(16), out)
    return out


def merge_with_peft(base: str, adapter: str, dtype: str, out: str) -> None:
    """As PEFT's documentation shows it."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[dtype]
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), adapter)
    model.merge_and_unload().save_pretrained(out)


def start(command: list, threads: int) -> subprocess.Popen:
    variables = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables)


def finish(process: subprocess.Popen) -> str:
    output, talk = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"{process.args}\nended with {process.returncode}:\n{talk}")
    return output


def run(command: list, threads: int) -> tuple[float, str]:
    begun = time.perf_counter()
    output = finish(start(command, threads))
    return time.perf_counter() - begun, output


def watch(command: list, threads: int) -> dict:
    """Peaks in bytes: of everything resident, and of anonymous memory."""
    process = start(command, threads)
    peaks = watch_memory(process, 0.002)
    finish(process)
    return {"peak_bytes": peaks[RESIDENT], "anonymous_bytes": peaks[ANONYMOUS]}


def greatest_difference(ours: Path, theirs: Path) -> float:
    from safetensors.torch import load_file

    ours, theirs = load_file(ours / "model.safetensors"), load_file(theirs / "model.safetensors")
    # PEFT may save the head of a tied model, or leave it out.
    names = ours.keys() & theirs.keys()
    if missing := (ours.keys() ^ theirs.keys()) - {"lm_head.weight"}:
        raise SystemExit(f"only one side has {sorted(missing)}")
    return max((ours[name].double() - theirs[name].double()).abs().max().item() for name in names)


def report(seconds: dict, memory: dict, said: dict, difference: float, load: float, arguments: argparse.Namespace) -> None:
    print(f"{processor()}, {arguments.threads} threads, load {load:.1f} at the start; pairs {arguments.repeats}, {arguments.dtype}")
    print(f"{'':6} {'shortest s':>10} {'median s':>9} {'peak MB':>8} {'beyond mapped files, MB':>24}")
    for side, taken in seconds.items():
        print(f"{side:6} {min(taken):10.2f} {statistics.median(taken):9.2f} {memory[side]['peak_bytes'] / 1e6:8.0f} "
              f"{memory[side]['anonymous_bytes'] / 1e6:24.0f}")
    ratios = [theirs / ours for ours, theirs in zip(seconds["hone"], seconds["peft"])]
    shortest = min(seconds["peft"]) / min(seconds["hone"])
    print(f"peft takes {shortest:.2f} × as long by the shortest runs, {statistics.median(ratios):.2f} × by the median pair "
          f"({min(ratios):.2f} to {max(ratios):.2f})")
    parity = said["parity"]
    print(f"hone's proof: {parity['prompts']}, {parity['tokens']} tokens, mean KL {parity['mean_kl']:.1e} nats; greatest difference "
          f"from peft's numbers {difference:.1e}")
    if load > BUSY:
        print("the machine was busy: memory stands, times do not")
    if arguments.json:
        print(json.dumps({"seconds": seconds, "memory": memory, "ratios": ratios, "parity": parity, "difference": difference, "load": load}))


if __name__ == "__main__":
    main()
