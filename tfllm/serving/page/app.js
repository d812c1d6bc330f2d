// The page: pick a model, type, see its answer.
import { ServerError, chat, listModels, predict, setToken, write } from "./api.js";
import { element, ending, show } from "./views.js";
import { currentLanguage, setLanguage, translate, word } from "./words.js";

const SETTINGS = { // of models that write
  max_new_tokens: { value: "64", min: "1", step: "1" },
  temperature: { value: "0", min: "0", step: "0.1" },
  seed: { value: "0", min: "0", step: "1" },
};
const RETRY_MILLISECONDS = 3000;
const place = (id) => document.getElementById(id);

let models = [];
let timer; // until the models are listed again
let running = null; // an AbortController while a request is on its way
let conversation = []; // of a model that chats: [{role, content}]
let again = () => {}; // draws the answer once more, in another language

place("language").value = currentLanguage();
place("language").addEventListener("change", (event) => {
  setLanguage(event.target.value);
  translate(document);
  drawForm(true);
  again();
});
place("model").addEventListener("change", () => {
  clear();
  drawForm(false);
});
place("access").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(place("token").value);
  load();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && place("ask").contains(document.activeElement)) {
    event.preventDefault();
    place("ask").requestSubmit();
  }
});
place("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
translate(document);
load();

/** List the models, again and again: the server finds more while it runs. */
async function load() {
  let listed;
  try {
    listed = await listModels();
  } catch (error) {
    place("access").hidden = error.status !== 401;
    if (!models.length || error.status === 401) fail(error);
    if (error.status !== 401) loadLater();
    return;
  }
  loadLater();
  if (!place("access").hidden) place("error").textContent = "";
  place("access").hidden = true;
  if (listed.length && JSON.stringify(listed) === JSON.stringify(models)) return;
  const before = chosen();
  models = listed;
  place("model").replaceChildren(...models.map((model) => element("option", { value: model.id }, model.id)));
  if (models.some((model) => model.id === before?.id)) place("model").value = before.id;
  else clear();
  if (!models.length) place("error").textContent = word("none");
  if (JSON.stringify(chosen()) !== JSON.stringify(before) || !before) drawForm(chosen()?.id === before?.id);
}

function loadLater() {
  clearTimeout(timer);
  timer = setTimeout(load, RETRY_MILLISECONDS);
}

function chosen() {
  return models.find((model) => model.id === place("model").value);
}

/** The fields of a model: names, and whether each takes a list. */
function fieldsOf(model) {
  if (model.chats) return ["message"];
  if (model.task === "embedding" && model.signatures.similarity) return ["text", "text_pair"];
  return model.inputs ?? model.signatures.serving_default?.inputs ?? [];
}

/** Draw the fields of the model; `keep` what stands in them. */
function drawForm(keep) {
  const form = place("ask");
  const before = keep ? Object.fromEntries(new FormData(form)) : {};
  const model = chosen();
  form.hidden = !model;
  if (!model) return;
  place("about").textContent = `${word(model.chats ? "chat" : (model.task ?? ""))} · ${word("version")} ${model.version}`;
  const fields = fieldsOf(model).map((name) =>
    element("label", {}, word(name), element("textarea", { name, dir: "auto", spellcheck: "false" })),
  );
  const settings = element("div", { class: "settings" });
  if (model.streams || model.chats) {
    for (const [name, attributes] of Object.entries(SETTINGS)) {
      settings.append(element("label", {}, `${word(name)} `, element("input", { name, type: "number", ...attributes })));
    }
  }
  const stop = element("button", { type: "button", id: "stop" }, word("stop"));
  stop.disabled = !running;
  stop.addEventListener("click", () => running?.abort());
  const buttons = element("p", {}, element("button", { type: "submit" }, word("ask")), stop);
  if (model.chats) {
    const wipe = element("button", { type: "button" }, word("clear"));
    wipe.addEventListener("click", clear);
    buttons.append(wipe);
  }
  buttons.append(element("span", { class: "quiet" }, word("keys")));
  form.replaceChildren(...fields, settings, buttons);
  for (const [name, value] of Object.entries(before)) if (form.elements[name]) form.elements[name].value = value;
}

async function ask() {
  const model = chosen();
  if (!model || running) return;
  running = new AbortController();
  place("stop").disabled = false;
  place("error").textContent = "";
  place("state").textContent = word("asking");
  try {
    if (model.chats) await converse(model);
    else if (model.streams) await stream(model);
    else await answer(model);
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  } finally {
    running = null;
    place("state").textContent = "";
    if (place("stop")) place("stop").disabled = true;
  }
}

function fail(error) {
  const known = { 0: "unreachable", 401: "refused", 429: "busy", 503: "busy" };
  const message = error instanceof ServerError ? error.message : String(error);
  place("error").textContent = [word(known[error.status] ?? ""), message].filter(Boolean).join(" ");
}

/** Forget the conversation and what is shown; a request on its way is ended. */
function clear() {
  running?.abort();
  conversation = [];
  place("answer").replaceChildren();
  place("error").textContent = "";
  again = () => {};
}

function draw(nodes) {
  place("answer").replaceChildren(...nodes.filter((node) => node !== null));
}

/** The texts of the form; a field of a list has one item a line. */
function inputsOf(model) {
  const inputs = {};
  for (const name of fieldsOf(model)) {
    const text = place("ask").elements[name].value.toWellFormed();
    inputs[name] = name === "choices" ? text.split("\n").filter((line) => line.trim()) : text;
  }
  return inputs;
}

function settingsOf() {
  return Object.fromEntries(Object.keys(SETTINGS).map((name) => [name, Number(place("ask").elements[name].value)]));
}

async function answer(model) {
  const inputs = inputsOf(model);
  const signature = model.task === "embedding" && model.signatures.similarity ? "similarity" : null;
  const outputs = await predict(model, inputs, signature, running.signal);
  again = () => draw(show(model, inputs, outputs));
  again();
}

async function stream(model) {
  const text = element("p", { class: "text" });
  const foot = element("p", { class: "quiet" });
  draw([text, foot]);
  again = () => {};
  for await (const event of write(model, { ...inputsOf(model), ...settingsOf() }, running.signal)) {
    text.append(event.text ?? "");
    if (event.done) {
      text.textContent = event.whole;
      foot.textContent = ending(event);
      again = () => (foot.textContent = ending(event));
    }
  }
}

async function converse(model) {
  const field = place("ask").elements.message;
  const message = field.value.toWellFormed();
  const { max_new_tokens: max_tokens, ...settings } = settingsOf();
  const turns = [...conversation, { role: "user", content: message }];
  const reply = { role: "assistant", content: "" };
  const before = conversation; // another array as soon as it is cleared
  again = () => draw([...turns, reply].map(turn));
  again();
  field.value = "";
  try {
    for await (const piece of chat(model, turns, { max_tokens, ...settings }, running.signal)) {
      if (conversation !== before) return;
      reply.content += piece;
      place("answer").lastChild.lastChild.append(piece);
    }
  } catch (error) {
    if (!reply.content && conversation === before) field.value = message;
    throw error;
  } finally {
    if (reply.content && conversation === before) conversation = [...turns, reply];
    field.focus();
  }
}

function turn({ role, content }) {
  return element("div", { class: "turn" }, element("b", {}, word(role)), element("div", { class: "text" }, content));
}
