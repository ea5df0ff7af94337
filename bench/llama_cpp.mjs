// llama.cpp beside Hone on the same GGUF file, the same tokens and as many threads: `cargo xtask bench -- --only decode` installs
// node-llama-cpp, starts this and takes turns with it. Times are taken here, so that what lies between the two does not count.
//
// Run: node llama_cpp.mjs MODEL.gguf THREADS NEW_TOKENS < lines, in a directory that has node-llama-cpp. The first line is the prompt
// as a JSON list of ids; then each line is `prompt` or `decode`, and is answered with seconds.

import {createInterface} from "node:readline";
import {getLlama} from "node-llama-cpp";

const [file, threads, newTokens] = process.argv.slice(2);
const llama = await getLlama({gpu: false, build: "never", maxThreads: +threads, logLevel: "error"});
const model = await llama.loadModel({modelPath: file});
const context = await model.createContext({contextSize: 2048, threads: +threads, batchSize: 512});
const sequence = context.getSequence();
let prompt;

// From the first token that comes to the last, as Hone's side is timed.
const decode = async () => {
    let [written, begin] = [0, 0];
    for await (const _ of sequence.evaluate(prompt.slice(0, 8), {temperature: 0})) {
        if (written === 0) begin = performance.now();
        written += 1;
        if (written > +newTokens) break;
    }
    return performance.now() - begin;
};

const read = async () => {
    const begin = performance.now();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    return performance.now() - begin;
};

for await (const line of createInterface({input: process.stdin})) {
    if (prompt === undefined) {
        prompt = JSON.parse(line);
        continue;
    }
    await sequence.clearHistory();
    const milliseconds = line === "prompt" ? await read() : await decode();
    console.log(milliseconds / 1000);
}
process.exit(0);
