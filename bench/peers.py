"""Other programs that do what `hone train` does, one sub-command each, for bench/compare_peft.py.

A peer runs alone in its process, so that its memory is its own. It gets the model, rows of messages and the sizes;
it prints one JSON object: `step_seconds`, `step_tokens`, `step_losses`, `tokens`, `supervised_tokens`, `train_loss`.
Loading and tokenising happen before the clock starts, and one gradient pass is made to warm up.

To add a peer (TRL, Unsloth): a function `name(job) -> dict` and its name in PEERS.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures" / "scripts"))

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IGNORED = -100


@dataclass
class Job:
    """What every peer is asked to do; the names are those of `hone train`."""

    model: Path
    data: Path
    batch_size: int
    rank: int
    alpha: float
    lr: float
    warmup_ratio: float
    clip: float
    threads: int
    seed: int


def peft(job: Job) -> dict:
    """PEFT on transformers in f32, padded batches, no recompute: what a user's own loop would be."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import get_cosine_schedule_with_warmup

    torch.manual_seed(job.seed)
    torch.set_num_threads(job.threads)
    model, encode = load_gguf(job.model)
    lora = LoraConfig(r=job.rank, lora_alpha=job.alpha, target_modules=LINEARS, lora_dropout=0.0, task_type="CAUSAL_LM")
    model = get_peft_model(model, lora).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=job.lr, weight_decay=0.0)

    examples = [encode(json.loads(line)["messages"]) for line in job.data.read_text().splitlines()]
    starts = range(0, len(examples), job.batch_size)
    batches = [pad(examples[start : start + job.batch_size]) for start in starts]
    schedule = get_cosine_schedule_with_warmup(optimizer, round(job.warmup_ratio * len(batches)), len(batches))

    model(**batches[0]).loss.backward()
    optimizer.zero_grad()
    seconds, losses = [], []
    for batch in batches:
        started = time.perf_counter()
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, job.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - started)

    supervised = [int((batch["labels"] != IGNORED).sum()) for batch in batches]
    tokens = [int(batch["attention_mask"].sum()) for batch in batches]
    return {
        "step_seconds": seconds,
        "step_tokens": tokens,
        "step_losses": losses,
        "tokens": sum(tokens),
        "supervised_tokens": sum(supervised),
        "train_loss": sum(loss * count for loss, count in zip(losses, supervised)) / sum(supervised),
    }


PEERS = {"peft": peft}


def load_gguf(path: Path):
    """The model in f32, and a function from messages to (ids, supervised): assistant turns and their end token."""
    import gguf
    import golden_smollm2
    import tiny_gguf
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    reader = gguf.GGUFReader(path)
    tokenizer = golden_smollm2.read_tokenizer(reader)
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
        reader.get_field("tokenizer.chat_template").contents()
    )
    end = tokenizer.id_to_token(reader.get_field("tokenizer.ggml.eos_token_id").contents())
    model = tiny_gguf.model_from_gguf(path)
    model.set_attn_implementation("sdpa")
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    def encode(messages: list[dict]) -> tuple[list[int], list[bool]]:
        ids, supervised, done = [], [], ""
        for turn, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt = template.render(messages=messages[:turn], add_generation_prompt=True)
            whole = template.render(messages=messages[: turn + 1])
            reply = message["content"] + end
            assert whole.startswith(prompt + reply), "this template rewrites replies"
            for text, wanted in [(prompt[len(done) :], False), (reply, True), (whole[len(prompt + reply) :], False)]:
                part = tokenizer.encode(text, add_special_tokens=False).ids
                ids += part
                supervised += [wanted] * len(part)
            done = whole
        return ids, supervised

    return model, encode


def pad(examples: list[tuple[list[int], list[bool]]]) -> dict:
    import torch

    width = max(len(ids) for ids, _ in examples)
    shape = (len(examples), width)
    batch = {
        "input_ids": torch.zeros(shape, dtype=torch.long),
        "attention_mask": torch.zeros(shape, dtype=torch.long),
        "labels": torch.full(shape, IGNORED),
    }
    for row, (ids, supervised) in enumerate(examples):
        batch["input_ids"][row, : len(ids)] = torch.tensor(ids)
        batch["attention_mask"][row, : len(ids)] = 1
        batch["labels"][row, : len(ids)] = torch.where(torch.tensor(supervised), torch.tensor(ids), IGNORED)
    return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    for name, kind in Job.__annotations__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, required=True)
    arguments = vars(parser.parse_args())
    peer = PEERS[arguments.pop("peer")]
    print(json.dumps(peer(Job(**arguments))))


if __name__ == "__main__":
    main()
