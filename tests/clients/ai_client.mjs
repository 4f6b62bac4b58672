// Vercel's npm package `ai` against a running server: node ai_client.mjs http://127.0.0.1:8080/v1
//
// Needs `npm install ai @ai-sdk/openai-compatible zod` and a model with a chat template and room for a few hundred
// tokens. With `--embed` it must make embeddings.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, streamObject, streamText, tool } from "ai";
import { z } from "zod";

const baseURL = process.argv[2];
const provider = createOpenAICompatible({ name: "verbatim", baseURL, apiKey: "none", supportsStructuredOutputs: true });
const name = (await (await fetch(`${baseURL}/models`)).json()).data[0].id;
const model = provider.chatModel(name);
const same = { model, prompt: "Hello", seed: 7, maxOutputTokens: 12, maxRetries: 0 };

const whole = await generateText(same);
assert.ok(whole.usage.outputTokens <= 12);
const stream = streamText(same);
let text = "";
for await (const part of stream.textStream) text += part;
assert.equal(text, whole.text);
const plain = await generateText({ ...same, model: provider.completionModel(name), prompt: "Once upon a time" });
assert.ok(plain.usage.outputTokens <= 12);

const schema = z.object({ name: z.string().max(8) });
const longer = { model, prompt: "Hello", seed: 7, maxRetries: 0 };
const formed = await generateObject({ ...longer, schema });
assert.equal(typeof formed.object.name, "string");
const forming = streamObject({ ...longer, schema });
let last;
for await (const part of forming.partialObjectStream) last = part;
assert.deepEqual(last, formed.object);
const weather = tool({ description: "The weather", inputSchema: z.object({ kind: z.number().int() }), execute: async () => "Sunny." });
const called = await generateText({ ...longer, tools: { weather }, toolChoice: { type: "tool", toolName: "weather" } });
assert.equal(called.toolCalls[0].toolName, "weather");
assert.equal(typeof called.toolCalls[0].input.kind, "number");
const calling = streamText({ ...longer, tools: { weather }, toolChoice: "required" });
await calling.consumeStream();
assert.equal((await calling.toolCalls)[0].toolName, "weather");
if (process.argv.includes("--embed")) {
  const { embeddings } = await embedMany({ model: provider.textEmbeddingModel(name), values: ["a cat", "a dog"] });
  assert.equal(embeddings.length, 2);
}
console.log("ok");
