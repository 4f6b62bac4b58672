// The npm package `openai` against a running server: node openai_client.mjs http://127.0.0.1:8080/v1
//
// Needs `npm install openai zod` and a model with a chat template and room for a few hundred tokens. With `--embed` it
// must make embeddings.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none" });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: "user", content: "Hello" }];
const same = { model, messages, seed: 7, max_tokens: 12 };

const longer = { model, messages, seed: 7 };

const whole = await client.chat.completions.create(same);
const text = whole.choices[0].message.content;
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...same, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(streamed, text);
const helper = client.chat.completions.stream(same);
assert.equal((await helper.finalChatCompletion()).choices[0].message.content, text);
const plain = await client.completions.create({ model, prompt: "Once upon a time", max_tokens: 8, seed: 1 });
assert.ok(plain.usage.completion_tokens <= 8);

const City = z.object({ name: z.string().max(8) });
const formed = await client.chat.completions.parse({
  ...longer, response_format: zodResponseFormat(City, "city"),
});
City.parse(formed.choices[0].message.parsed);
const parameters = { type: "object", properties: { kind: { type: "integer" } }, required: ["kind"] };
const called = await client.chat.completions.create({
  ...longer, tools: [{ type: "function", function: { name: "weather", parameters } }],
  tool_choice: { type: "function", function: { name: "weather" } },
});
assert.equal(typeof JSON.parse(called.choices[0].message.tool_calls[0].function.arguments).kind, "number");
const response = await client.responses.create({ model, input: "Hello", max_output_tokens: 12 });
assert.equal(response.object, "response");
if (process.argv.includes("--embed")) {
  const vectors = await client.embeddings.create({ model, input: ["a cat", "a dog"] });
  assert.equal(vectors.data.length, 2);
}
await assert.rejects(client.chat.completions.create({ ...same, functions: [{ name: "f" }] }), OpenAI.BadRequestError);
console.log("ok");
