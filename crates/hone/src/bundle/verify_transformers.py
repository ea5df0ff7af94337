"""Logits after each token of texts and greedy continuations of prompts, by transformers: `python verify_transformers.py QUESTION.json`.

Asked by `hone merge` and `hone export --verify-with transformers`. A model is loaded in f32; an adapter through PEFT. Prints
one JSON object; logits go into the file that the question names, f32, token after token. Ends with 77 where
transformers (or PEFT, for an adapter) is not installed.
"""

import json
import sys

try:
    import torch
    import transformers
except ImportError:
    sys.exit(77)


def main() -> None:
    with open(sys.argv[1]) as file:
        asked = json.load(file)
    transformers.utils.logging.disable_progress_bar()
    load = transformers.AutoModelForCausalLM.from_pretrained
    model = load(asked["model"] or asked["base"], dtype=torch.float32, local_files_only=True).eval()
    if asked["adapter"]:
        try:
            from peft import PeftModel
        except ImportError:
            sys.exit(77)
        model = PeftModel.from_pretrained(model, asked["adapter"]).eval()
    continuations, vocab = [], 0
    with torch.no_grad(), open(asked["logits"], "wb") as out:
        for ids in asked["texts"]:
            logits = model(input_ids=torch.tensor([ids])).logits[0]
            vocab = logits.shape[1]
            out.write(logits.float().numpy().astype("<f4").tobytes())
        for ids in asked["prompts"]:
            row = list(ids)
            for _ in range(asked["new_tokens"]):
                row.append(int(model(input_ids=torch.tensor([row])).logits[0, -1].argmax()))
            continuations.append(row[len(ids) :])
    print(json.dumps({"version": transformers.__version__, "continuations": continuations, "vocab": vocab}))


if __name__ == "__main__":
    main()
