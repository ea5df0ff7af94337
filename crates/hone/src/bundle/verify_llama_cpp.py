"""Logits after each token of texts and greedy continuations of prompts, by llama.cpp: `python verify_llama_cpp.py QUESTION.json`.

Asked by `hone merge` and `hone export --verify-with llama-cpp-python`. Prints one JSON object; logits go into the file
that the question names, f32, token after token. Ends with 77 where llama-cpp-python is not installed.
"""

import json
import sys

try:
    import llama_cpp
    import numpy as np
except ImportError:
    sys.exit(77)


def main() -> None:
    with open(sys.argv[1]) as file:
        asked = json.load(file)
    texts, prompts, new_tokens = asked["texts"], asked["prompts"], asked["new_tokens"]
    model = llama_cpp.Llama(
        model_path=asked["model"] or asked["base"],
        lora_path=asked["adapter"],
        n_ctx=max(map(len, texts + prompts)) + new_tokens + 8,
        n_batch=512,
        logits_all=True,
        # Its threads wait for each other by spinning, which a busy machine punishes.
        n_threads=1,
        n_threads_batch=1,
        verbose=False,
    )
    vocab, continuations = model.n_vocab(), []
    with open(asked["logits"], "wb") as out:
        for ids in texts:
            model.reset()
            model.eval(ids)
            out.write(np.ascontiguousarray(model.scores[: len(ids)], dtype="<f4").tobytes())
    for ids in prompts:
        model.reset()
        model.eval(ids)
        answer = []
        for _ in range(new_tokens):
            answer.append(int(np.argmax(model.scores[model.n_tokens - 1])))
            model.eval(answer[-1:])
        continuations.append(answer)
    print(json.dumps({"version": llama_cpp.__version__, "continuations": continuations, "vocab": vocab}))


if __name__ == "__main__":
    main()
