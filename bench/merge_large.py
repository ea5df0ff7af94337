"""A base of eight billion parameters, made up, merges and is proven under a limit of 2 GB.

    cargo xtask merge-large [-- OPTIONS]
    python3 bench/merge_large.py [--layers 32] [--limit 2GB] [--place DIR] …

Writes a base in bf16, 16 GB in shards, and an adapter of rank 16 on all seven projections; runs `hone merge` with the
limit on its anonymous memory (`ulimit -d`), and in a control group that holds page cache too where systemd makes one;
says how long it took and what was resident at most, mapped files included; and removes everything. Needs nothing but
Python. The tokenizer is the tiny fixtures' one, which cuts text into three times as many tokens as a real one.
"""

import argparse
import array
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peaks import ANONYMOUS, RESIDENT, watch_memory

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "fixtures" / "models" / "tiny-llama-tied"
UNITS = {"GB": 10**9, "MB": 10**6}

D_MODEL, D_FF, HEADS, KEY_HEADS, HEAD, VOCAB, RANK = 4096, 14336, 32, 8, 128, 128_256, 16
PROJECTIONS = {
    "self_attn.q_proj": (HEADS * HEAD, D_MODEL), "self_attn.k_proj": (KEY_HEADS * HEAD, D_MODEL),
    "self_attn.v_proj": (KEY_HEADS * HEAD, D_MODEL), "self_attn.o_proj": (D_MODEL, HEADS * HEAD),
    "mlp.gate_proj": (D_FF, D_MODEL), "mlp.up_proj": (D_FF, D_MODEL), "mlp.down_proj": (D_MODEL, D_FF),
}
SHARD_BYTES = 5 * 10**9


def main() -> None:
    arguments = parse()
    tensors = base_tensors(arguments.layers)
    base_bytes = sum(2 * size(shape) for shape in tensors.values())
    # Base and merged model, and half a shard for what the system wants.
    needed = 2 * base_bytes + 2 * 10**9
    free = shutil.disk_usage(arguments.place or tempfile.gettempdir()).free
    if free < needed:
        print(f"skipped: {needed / 1e9:.0f} GB of free disk are needed for a base of {base_bytes / 1e9:.1f} GB and what it is merged "
              f"into, and there are {free / 1e9:.0f}; see --place and --layers")
        return
    with tempfile.TemporaryDirectory(prefix="hone-large-", dir=arguments.place) as place:
        place = Path(place)
        begun = time.perf_counter()
        write_base(place / "base", tensors, arguments.layers)
        write_adapter(place / "adapter", arguments.layers)
        # What is still on its way to the disk would be counted as the merge's.
        os.sync()
        print(f"base of {base_bytes / 1e9:.2f} GB in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
        command = [arguments.hone, "merge", "--model", place / "base", "--adapter", place / "adapter", "--out", place / "merged", "--json"]
        seconds, peaks, said = merge([str(part) for part in command], arguments.limit)
        report(base_bytes, seconds, peaks, said, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--hone", type=Path, default=ROOT / "target" / "release" / "hone", help="the binary (default: target/release/hone)")
    add("--layers", type=int, default=32, help="436 MB each; 32 make eight billion parameters")
    add("--limit", type=read_size, default="2GB", help="of memory (default: 2GB)")
    add("--place", type=Path, help="a directory on the disk to use (default: the system's for temporary files)")
    return parser.parse_args()


def read_size(text: str) -> int:
    return int(float(text[:-2]) * UNITS[text[-2:].upper()])


def size(shape: tuple) -> int:
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def base_tensors(layers: int) -> dict[str, tuple]:
    tensors = {"model.embed_tokens.weight": (VOCAB, D_MODEL)}
    for layer in range(layers):
        norms = {"input_layernorm": (D_MODEL,), "post_attention_layernorm": (D_MODEL,)}
        tensors |= {f"model.layers.{layer}.{part}.weight": shape for part, shape in (norms | PROJECTIONS).items()}
    return tensors | {"model.norm.weight": (D_MODEL,), "lm_head.weight": (VOCAB, D_MODEL)}


def write_base(out: Path, tensors: dict[str, tuple], layers: int) -> None:
    out.mkdir()
    for name in ["tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(TINY / name, out)
    config = json.loads((TINY / "config.json").read_text()) | {
        "hidden_size": D_MODEL, "intermediate_size": D_FF, "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS,
        "head_dim": HEAD, "num_hidden_layers": layers, "vocab_size": VOCAB, "tie_word_embeddings": False,
    }
    (out / "config.json").write_text(json.dumps(config))
    shards, filled = [{}], 0
    for name, shape in tensors.items():
        if filled and filled + 2 * size(shape) > SHARD_BYTES:
            shards.append({})
            filled = 0
        shards[-1][name] = shape
        filled += 2 * size(shape)
    noise, where = bf16_noise(), {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        where |= dict.fromkeys(shard, file)
        write_safetensors(out / file, "BF16", 2, shard, lambda name, shape: b"\x80\x3f" * size(shape) if len(shape) == 1 else noise)
    (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def bf16_noise() -> bytes:
    """Numbers around ±0.01, 1 MiB and a little of them so that no two rows are alike."""
    bits = ((number * 2_654_435_761 & 0xFFFFFFFF) >> 16 for number in range(524_309))
    return array.array("H", (0x3C00 | (bit & 0x80FF) for bit in bits)).tobytes()


def write_adapter(out: Path, layers: int) -> None:
    out.mkdir()
    tensors = {}
    for layer in range(layers):
        for module, (rows, cols) in PROJECTIONS.items():
            path = f"base_model.model.model.layers.{layer}.{module}"
            tensors |= {f"{path}.lora_A.weight": (RANK, cols), f"{path}.lora_B.weight": (rows, RANK)}
    numbers = (((number * 2_654_435_761 & 0xFFFFFFFF) / 2**32 - 0.5) * 0.02 for number in range(65_537))
    noise = array.array("f", numbers).tobytes()
    write_safetensors(out / "adapter_model.safetensors", "F32", 4, tensors, lambda name, shape: noise)
    (out / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 2 * RANK, "lora_dropout": 0.0, "bias": "none",
        "target_modules": sorted(module.split(".")[1] for module in PROJECTIONS), "inference_mode": True,
    }))


def write_safetensors(path: Path, dtype: str, width: int, tensors: dict[str, tuple], numbers) -> None:
    """Each tensor is filled with its numbers, as often as it takes."""
    header, end = {}, 0
    for name, shape in tensors.items():
        start, end = end, end + width * size(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name, shape in tensors.items():
            piece, left = numbers(name, shape), width * size(shape)
            while left:
                left -= file.write(memoryview(piece)[:left])


def merge(command: list[str], limit: int) -> tuple[float, dict, dict]:
    """Runs it under the limit; seconds, peaks in bytes, and what it says."""
    begun = time.perf_counter()
    # The shell takes the limit on itself, and the command inherits it.
    limited = ["sh", "-c", 'ulimit -d "$0" && exec "$@"', str(limit // 1024), *command]
    in_group = ["systemd-run", "--scope", "--quiet", "--property", f"MemoryMax={limit}", "--property", "MemorySwapMax=0"]
    if shutil.which("systemd-run") and subprocess.run([*in_group, "true"], capture_output=True).returncode == 0:
        limited = in_group + limited
        print("in a control group of the limit's size", file=sys.stderr)
    process = subprocess.Popen(limited, stdout=subprocess.PIPE, text=True)
    peaks = watch_memory(process, 0.02)
    output, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"hone merge ended with {process.returncode}, its limit was {limit / 1e9:.1f} GB")
    return time.perf_counter() - begun, peaks, json.loads(output.splitlines()[-1])


def report(base_bytes: int, seconds: float, peaks: dict, said: dict, arguments: argparse.Namespace) -> None:
    parity = said["parity"]
    print(f"a base of {base_bytes / 1e9:.2f} GB merged and proven in {seconds:.0f} s ({said['seconds']:.0f} s until it was written) under a limit "
          f"of {arguments.limit / 1e9:.1f} GB; at most {peaks[RESIDENT] / 1e6:.0f} MB resident, {peaks[ANONYMOUS] / 1e6:.0f} MB of it not mapped files")
    print(f"proof: {parity['prompts']}, {parity['tokens']} tokens, mean KL {parity['mean_kl']:.1e} nats (bound {parity['bound']['mean_kl']:.0e} for "
          f"{parity['bound']['precision']}), holds: {parity['holds']}")


if __name__ == "__main__":
    main()
