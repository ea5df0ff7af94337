"""Other programs that do what `hone train` does, one sub-command each, for bench/compare_peft.py.

`prepare` comes first: it writes the base as a Hugging Face directory in f32, and the rows both as text and as ids with
labels, so that every side trains and is judged on the same tokens. A peer then runs alone in its process, so that its
memory is its own, and prints one JSON object. Loading happens before its clock starts, one gradient pass warms it up,
and its peak memory is read before the held-out rows are looked at.

To add a peer: a function `name(job) -> dict` and its name in PEERS.
"""

import argparse
import json
import math
import os
import random
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IGNORED = -100


@dataclass
class Job:
    """What every peer is asked to do; the names are those of `hone train`."""

    model: Path
    data: Path
    valid: Path
    batch_size: int
    epochs: int
    rank: int
    alpha: float
    lr: float
    warmup_ratio: float
    clip: float
    threads: int
    seed: int

    def total_steps(self, examples: list[dict]) -> int:
        return self.epochs * math.ceil(len(examples) / self.batch_size)

    def warmup_steps(self, examples: list[dict]) -> int:
        return math.ceil(self.warmup_ratio * self.total_steps(examples))


class Clock:
    """Seconds, tokens and loss of each step, from one end of a step to the next: nothing falls between two steps."""

    def __init__(self):
        self.steps, self.last = [], time.perf_counter()

    def start(self) -> None:
        self.last = time.perf_counter()

    def stepped(self, loss: float, batch: dict) -> None:
        now = time.perf_counter()
        tokens, supervised = int(batch["attention_mask"].sum()), int((batch["labels"] != IGNORED).sum())
        self.steps.append({"seconds": now - self.last, "loss": loss, "tokens": tokens, "supervised_tokens": supervised})
        self.last = now


def peft(job: Job) -> dict:
    """PEFT on transformers in f32, padded batches, no recompute: what a user's own loop would be."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

    torch.manual_seed(job.seed)
    base = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    model = get_peft_model(base, lora(job)).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=job.lr, weight_decay=0.0)

    examples = read_rows(job.data)
    schedule = get_cosine_schedule_with_warmup(optimizer, job.warmup_steps(examples), job.total_steps(examples))
    batches = pad_all(examples, job.batch_size)
    model(**batches[0]).loss.backward()
    optimizer.zero_grad()

    clock = Clock()
    for batch in batches * job.epochs:
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, job.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        clock.stepped(loss.item(), batch)
    return finish(job, model, clock, ["peft", "transformers", "torch"])


def trl(job: Job) -> dict:
    """TRL's SFTTrainer at its fastest on a CPU: f32, no recompute; padded batches, as it makes them by default."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    settings = {"use_cpu": True, "bf16": False, "peft_config": lora(job)}
    return finish(job, *sft(job, model, tokenizer, settings), ["trl", "peft", "transformers", "torch"])


def unsloth(job: Job) -> dict:
    """Unsloth's CPU back-end with its own choice of precision, and without recompute, which it does by default."""
    from unsloth import FastLanguageModel  # first: it changes trl, transformers and peft as they load

    model, tokenizer = FastLanguageModel.from_pretrained(str(job.model), max_seq_length=8192, load_in_4bit=False)
    model = FastLanguageModel.get_peft_model(
        model,
        r=job.rank,
        lora_alpha=job.alpha,
        target_modules=LINEARS,
        use_gradient_checkpointing=False,
        random_state=job.seed,
    )
    return finish(job, *sft(job, model, tokenizer, {}), ["unsloth", "trl", "peft", "transformers", "torch"])


def sft(job: Job, model, tokenizer, settings: dict) -> tuple:
    """A run of whatever `trl.SFTTrainer` is at this moment: the trained model, and the clock."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    examples, clock, seen = read_rows(job.data), Clock(), []

    class Watched(SFTTrainer):
        def training_step(self, model, inputs, *rest, **named):
            batch = dict(inputs)
            loss = super().training_step(model, inputs, *rest, **named)
            seen.append((loss.item(), batch))
            return loss

    class Watch(TrainerCallback):
        def on_train_begin(self, *_, **__):
            clock.start()

        def on_step_end(self, *_, **__):
            clock.stepped(*seen.pop())

    peft_config = settings.pop("peft_config", None)
    config = SFTConfig(
        output_dir="trainer",
        per_device_train_batch_size=job.batch_size,
        num_train_epochs=job.epochs,
        learning_rate=job.lr,
        lr_scheduler_type="cosine",
        warmup_steps=job.warmup_steps(examples),
        max_grad_norm=job.clip,
        weight_decay=0.0,
        gradient_checkpointing=False,
        max_length=None,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=job.seed,
        **settings,
    )
    trainer = Watched(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[Watch()],
    )
    trainer.model.train()
    trainer.compute_loss(trainer.model, pad(examples[: job.batch_size])).backward()
    trainer.model.zero_grad()
    trainer.train()
    return trainer.model, clock


PEERS = {"peft": peft, "trl": trl, "unsloth": unsloth}


def lora(job: Job):
    from peft import LoraConfig

    return LoraConfig(r=job.rank, lora_alpha=job.alpha, target_modules=LINEARS, lora_dropout=0.0, task_type="CAUSAL_LM")


def finish(job: Job, model, clock: Clock, packages: list[str]) -> dict:
    from importlib.metadata import version

    peak = peak_bytes()
    return {
        "steps": clock.steps,
        "peak_bytes": peak,
        "held_out_loss": held_out_loss(model, read_rows(job.valid), job.batch_size),
        "versions": {package: version(package) for package in packages},
        "base": sorted({str(parameter.dtype) for parameter in model.parameters() if not parameter.requires_grad}),
    }


def held_out_loss(model, examples: list[dict], batch_size: int) -> float | None:
    """Nats per supervised token over all rows together, in f32 logits."""
    import torch

    model.eval()
    nats, tokens = 0.0, 0
    ordered = sorted(examples, key=lambda example: len(example["input_ids"]))
    with torch.no_grad():
        for batch in pad_all(ordered, batch_size):
            targets = batch.pop("labels")[:, 1:]
            logits = model(**batch, use_cache=False).logits[:, :-1]
            wanted = targets != IGNORED
            nats += torch.nn.functional.cross_entropy(logits[wanted].float(), targets[wanted], reduction="sum").item()
            tokens += int(wanted.sum())
    return nats / tokens if tokens else None


def peak_bytes() -> int:
    """Peak resident memory so far, from the kernel's count for this program alone where there is one."""
    import resource

    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def pad_all(examples: list[dict], batch_size: int) -> list[dict]:
    return [pad(examples[start : start + batch_size]) for start in range(0, len(examples), batch_size)]


def pad(examples: list[dict]) -> dict:
    import torch

    shape = (len(examples), max(len(example["input_ids"]) for example in examples))
    batch = {
        "input_ids": torch.zeros(shape, dtype=torch.long),
        "attention_mask": torch.zeros(shape, dtype=torch.long),
        "labels": torch.full(shape, IGNORED),
    }
    for row, example in enumerate(examples):
        length = len(example["input_ids"])
        batch["input_ids"][row, :length] = torch.tensor(example["input_ids"])
        batch["attention_mask"][row, :length] = 1
        batch["labels"][row, :length] = torch.tensor(example["labels"])
    return batch


def prepare(arguments: argparse.Namespace) -> dict:
    """Rows for Hone (text) and for the peers (ids and labels), drawn by seed from those that are not too long."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures" / "scripts"))
    import gguf
    import golden_smollm2

    reader = gguf.GGUFReader(arguments.gguf)
    tokenizer = golden_smollm2.read_tokenizer(reader)
    end = tokenizer.id_to_token(reader.get_field("tokenizer.ggml.eos_token_id").contents())
    template = reader.get_field("tokenizer.chat_template").contents()
    if not arguments.directory.exists():
        write_directory(arguments.gguf, tokenizer, template, end, arguments.directory)

    encode = encoder(tokenizer, template, end)
    draw = random.Random(arguments.seed)
    given = dense_rows(tokenizer, arguments, draw) if arguments.dense else read_rows(arguments.data)
    found = {"train": write_rows(arguments, "train", given, arguments.rows, encode, draw)}
    held_out = read_rows(arguments.valid) if arguments.valid else []
    return found | {"valid": write_rows(arguments, "valid", held_out, arguments.valid_rows, encode, draw)}


def write_directory(path: Path, tokenizer, template: str, end: str, directory: Path) -> None:
    import tiny_gguf
    from transformers import PreTrainedTokenizerFast

    partial = directory.with_name(f"{directory.name}.partial")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end)
    wrapped.chat_template = template
    wrapped.save_pretrained(partial)
    tiny_gguf.model_from_gguf(path).save_pretrained(partial)
    partial.rename(directory)


def write_rows(arguments: argparse.Namespace, name: str, rows: list[dict], limit: int, encode, draw) -> int:
    """Order in the file is kept; only which rows are taken is drawn."""
    encoded = [(row, encode(row)) for row in rows]
    usable = [pair for pair in encoded if len(pair[1]["input_ids"]) <= arguments.max_length]
    if len(usable) < len(rows):
        print(f"{name}: {len(rows) - len(usable)} of {len(rows)} rows are too long, left out", file=sys.stderr)
    taken = sorted(draw.sample(range(len(usable)), min(limit, len(usable))))
    for suffix, part in [("jsonl", 0), ("ids.jsonl", 1)]:
        lines = [json.dumps(usable[index][part]) + "\n" for index in taken]
        (arguments.out / f"{name}.{suffix}").write_text("".join(lines))
    return len(taken)


def encoder(tokenizer, template: str, end: str):
    """From a row to ids and labels: of a chat the assistant's turns and their end token are trained on, of a text everything.

    A first token has no label, since nothing predicts it.
    """
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    render = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(template).render

    def parts(row: dict):
        if "text" in row:
            yield row["text"] + end, True
            return
        if "messages" not in row:
            raise SystemExit(f"a row has neither `messages` nor `text`, only {', '.join(row)}: this comparison reads those two")
        messages, done = row["messages"], ""
        for turn, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt = render(messages=messages[:turn], add_generation_prompt=True)
            whole = render(messages=messages[: turn + 1])
            reply = message["content"] + end
            assert whole.startswith(prompt + reply), "this template rewrites replies"
            yield from [(prompt[len(done) :], False), (reply, True), (whole[len(prompt + reply) :], False)]
            done = whole

    def encode(row: dict) -> dict:
        ids, labels = [], []
        for text, learnt in parts(row):
            part = tokenizer.encode(text, add_special_tokens=False).ids
            ids += part
            labels += part if learnt else [IGNORED] * len(part)
        return {"input_ids": ids, "labels": [IGNORED, *labels[1:]]}

    return encode


def dense_rows(tokenizer, arguments: argparse.Namespace, draw: random.Random) -> list[dict]:
    """Rows of one length to the token: words that are one token each, and the end token that a text is given."""
    words = sorted(token[1:] for token in tokenizer.get_vocab() if re.fullmatch("Ġ[a-z]{3,}", token))
    words = [word for word in words if len(tokenizer.encode(f" {word}").ids) == 1]
    text = lambda: "".join(f" {draw.choice(words)}" for _ in range(arguments.dense - 1))
    return [{"text": text()} for _ in range(arguments.rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in PEERS:
        add_fields(commands.add_parser(name), Job.__annotations__)
    add_fields(commands.add_parser("prepare"), {
        "gguf": Path, "directory": Path, "data": Path, "valid": Path, "rows": int, "valid_rows": int,
        "dense": int, "max_length": int, "seed": int, "out": Path,
    }, optional=["data", "valid", "dense"])
    arguments = parser.parse_args()
    # Trainers talk on standard output; the answer must be all there is on it.
    answer, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(answer_of(arguments)), file=answer)


def answer_of(arguments: argparse.Namespace) -> dict:
    if arguments.command == "prepare":
        return prepare(arguments)
    job = Job(**{name: value for name, value in vars(arguments).items() if name != "command"})
    import torch

    torch.set_num_threads(job.threads)
    return PEERS[arguments.command](job)


def add_fields(parser: argparse.ArgumentParser, fields: dict, optional: tuple | list = ()) -> None:
    for name, kind in fields.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, required=name not in optional)


if __name__ == "__main__":
    main()
