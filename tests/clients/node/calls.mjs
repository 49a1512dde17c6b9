// The unmodified `openai` npm package against a gateway: one JSON line with what it saw. usage: node calls.mjs BASE_URL
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "unused", maxRetries: 0, timeout: 60_000 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const seen = {};

const plain = await client.chat.completions.create({ model: "sluice-small", messages });
seen.plain = plain.choices[0].message.content;

const stream = await client.chat.completions.create({ model: "sluice-small", messages, stream: true });
seen.streamed = "";
for await (const chunk of stream) seen.streamed += chunk.choices[0]?.delta?.content ?? "";

const runner = client.chat.completions.stream({ model: "sluice-small", messages });
seen.accumulated = (await runner.finalChatCompletion()).choices[0].message.content;

const tool = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string", enum: ["Paris", "Rome"] } }, required: ["city"] },
  },
};
const called = await client.chat.completions.create({
  model: "sluice-small",
  messages: [{ role: "user", content: "What is the weather in Paris?" }],
  tools: [tool],
  tool_choice: "required",
  max_tokens: 200,
});
seen.tool = called.choices[0].message.tool_calls[0].function;

const embedded = await client.embeddings.create({ model: "all-minilm-l6-v2", input: ["hello", "good morning"] });
seen.dimensions = embedded.data.map((item) => item.embedding.length);

seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);

const raw = await client.chat.completions.create({ model: "sluice-small", messages }).asResponse();
seen.header = raw.headers.get("x-sluice-model");

try {
  await client.chat.completions.create({ model: "no-such-model", messages });
} catch (error) {
  seen.unknown = [error.constructor.name, error.status, error.code];
}

const left = await client.chat.completions.create({ model: "sluice-small", messages, stream: true });
for await (const chunk of left) {
  if (chunk) break;
}
seen.afterLeaving = (await client.chat.completions.create({ model: "sluice-small", messages })).choices.length;

console.log(JSON.stringify(seen));
