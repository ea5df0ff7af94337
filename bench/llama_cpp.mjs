// Tokens a second of llama.cpp on a GGUF file, to stand beside `cargo xtask bench -- --only decode`: reading a prompt, and
// one sequence written greedily. Take turns with Hone, several times: one run says little on a shared machine.
//
// Run: npm install node-llama-cpp@3.22.1 (in a directory of its own, which this file is copied to), then
//      node llama_cpp.mjs MODEL.gguf [THREADS [NEW_TOKENS [PROMPT_TOKENS]]]

import {getLlama} from "node-llama-cpp";

const [file, threads = 2, newTokens = 128, promptTokens = 512] = process.argv.slice(2);
const llama = await getLlama({gpu: false, maxThreads: +threads, logLevel: "error"});
const model = await llama.loadModel({modelPath: file});
const context = await model.createContext({contextSize: 2048, threads: +threads, batchSize: 512});
const sequence = context.getSequence();
const text = "The lighthouse keeper walked down to the shore and looked at the ships. ".repeat(200);
const prompt = model.tokenize(text).slice(0, +promptTokens);

const told = (what, tokens, since) => {
    const seconds = (performance.now() - since) / 1000;
    console.log(`llama.cpp, ${what}, ${tokens} tokens: ${(tokens / seconds).toFixed(1)} tokens/s`);
};

// The first pages of the file come from the disk.
await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(0, 8));
await sequence.clearHistory();
let begin = performance.now();
await sequence.evaluateWithoutGeneratingNewTokens(prompt);
told("prompt", prompt.length, begin);

await sequence.clearHistory();
let written = 0;
for await (const _ of sequence.evaluate(prompt.slice(0, 8), {temperature: 0})) {
    if (written === 0) begin = performance.now();
    written += 1;
    if (written > +newTokens) break;
}
told("decode, 1 at once", +newTokens, begin);
process.exit(0);
