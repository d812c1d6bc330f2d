// What the page asks of the server: TensorFlow Serving's REST API, and its streams.
import { keep, read } from "./kept.js";
import { parseJson } from "./text.js";

const TOKEN = "tfllm-token";

/** An answer that is not 2xx; `status` is its code, 0 when the server cannot be reached. */
export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export function setToken(token) {
  keep("sessionStorage", TOKEN, token);
}

/** The models that answer: [{id, version, task, inputs, labels, streams, chats, signatures}]. */
export async function listModels() {
  const response = await call("/v1/models", {});
  return parseJson(await response.text()).data;
}

/** What a signature gives for one row of inputs: an object of its outputs. */
export async function predict(model, inputs, signature, signal) {
  const body = { instances: [inputs], ...(signature && { signature_name: signature }) };
  const response = await post(`${pathOf(model)}:predict`, body, signal);
  const [row] = parseJson(await response.text()).predictions;
  const { outputs } = model.signatures[signature ?? "serving_default"];
  return outputs.length === 1 ? { [outputs[0]]: row } : row; // a single output comes without its name
}

/** The events of a model that writes: {text}, the last with {done, whole, ...}. */
export async function* write(model, inputs, signal) {
  const response = await post(`${pathOf(model)}:stream`, { inputs }, signal);
  yield* events(response);
}

/** The pieces of an answer to a conversation. */
export async function* chat(model, messages, settings, signal) {
  const body = { model: model.id, messages, stream: true, ...settings };
  const response = await post("/v1/chat/completions", body, signal);
  for await (const event of events(response)) {
    const text = event.choices?.[0]?.delta?.content;
    if (text) yield text;
  }
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const blocks = (rest + (value ?? "")).split("\n\n");
    rest = done ? "" : blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (!data || data === "[DONE]") continue;
      const event = parseJson(data);
      if (event.error) throw new ServerError(event.error.message ?? event.error, 500);
      yield event;
    }
    if (done) return;
  }
}

function pathOf(model) {
  return `/v1/models/${encodeURIComponent(model.id)}`;
}

function post(path, body, signal) {
  return call(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal });
}

async function call(path, options) {
  const token = read("sessionStorage", TOKEN);
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("", 0);
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = text;
  try {
    const { error } = parseJson(text);
    message = error.message ?? error;
  } catch {
    // not JSON: the text itself is shown
  }
  throw new ServerError(message, response.status);
}
