// How an answer looks, by task. Text becomes part of the page as text nodes only, never as markup.
import { pieces } from "./text.js";
import { word } from "./words.js";

const COLOURS = 8;

/** An element with attributes and children; strings become text nodes. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null).map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

/** Nodes for what a model answered: (model, inputs of the row, outputs of the row). */
export function show(model, inputs, outputs) {
  const view = VIEWS[model.task];
  return view && outputs !== null && typeof outputs === "object" ? view(inputs, outputs, model) : raw(outputs);
}

export const VIEWS = {
  classification: (inputs, { label, labels, scores }) => [
    element("p", { class: "big" }, label),
    bars(labels.map((name, place) => ({ name, share: scores[place], best: name === label })), "probability"),
  ],
  multilabel: (inputs, { chosen, count, labels, scores }) => {
    const best = chosen.slice(0, count);
    return [
      element("p", {}, best.length ? best.join(" · ") : word("no_labels")),
      bars(labels.map((name, place) => ({ name, share: scores[place], best: best.includes(name) })), "probability"),
    ];
  },
  regression: (inputs, { score }) => [element("h2", {}, word("score")), element("p", { class: "big" }, number(score))],
  next_sentence: (inputs, { score }) => [bars([{ name: word("follows"), share: score, best: true }], "probability")],
  multiple_choice: (inputs, { choice, scores }) => [
    element("p", { class: "big" }, choice),
    bars(inputs.choices.map((name, place) => ({ name, share: scores[place], best: name === choice })), "probability"),
  ],
  tagging: (inputs, outputs, model) => {
    const names = outputs.entity ?? outputs.tag ?? [];
    const spans = names.slice(0, outputs.count).map((name, place) => ({
      name, start: outputs.start[place], end: outputs.end[place], score: outputs.score[place],
    }));
    const known = [...(model.labels ?? []), ...names];
    const colour = (name) => known.indexOf(name) % COLOURS;
    return [
      marked(inputs.text, spans, (span) => ({ kind: colour(span.name), note: span.name, title: percent(span.score) })),
      spans.length ? null : element("p", { class: "quiet" }, word("no_entities")),
    ];
  },
  question_answering: (inputs, { answer, start, end, score }) =>
    start < 0
      ? [element("p", {}, word("no_answer"), " ", percent(score))]
      : [
          element("p", { class: "big" }, answer),
          element("p", { class: "quiet" }, `${word("probability")}: ${percent(score)}`),
          marked(inputs.context, [{ start, end }], () => ({ kind: 0 })),
        ],
  fill_mask: (inputs, { count, words, scores, filled }) =>
    count === 0
      ? [element("p", {}, word("no_gaps"))]
      : [
          element("h2", {}, word("filled")),
          element("p", { class: "text" }, filled),
          ...words.slice(0, count).flatMap((row, gap) => [
            element("h2", {}, `${word("gap")} ${gap + 1}`),
            bars(row.map((name, place) => ({ name, share: scores[gap][place], best: place === 0 })), "probability"),
          ]),
        ],
  embedding: (inputs, { score, embedding }) =>
    embedding
      ? [
          element("h2", {}, `${word("embedding")}: ${embedding.length} ${word("vector")}`),
          element("p", { class: "text" }, embedding.map(number).join(", ")),
        ]
      : [bars([{ name: word("similarity"), share: score, best: true }], "similarity", number)],
};
VIEWS.generation = VIEWS.seq2seq = (inputs, outputs) => [
  element("p", { class: "text" }, outputs.text),
  element("p", { class: "quiet" }, ending(outputs)),
];

/** How a text ended: so many tokens, by itself or at the limit. */
export function ending({ num_tokens, finish_reason }) {
  return `${num_tokens} ${word("tokens")}, ${word(`finish_${finish_reason}`)}`;
}

/** A model of others: its outputs as they came. */
function raw(outputs) {
  return [element("pre", { class: "text" }, JSON.stringify(outputs, null, 1))];
}

function bars(rows, what, format = percent) {
  const table = element("table");
  for (const { name, share, best } of rows) {
    const bar = element("div", { class: "bar", role: "img", "aria-label": `${word(what)}: ${format(share)}` });
    bar.style.width = `${Math.max(0, Math.min(1, share ?? 0)) * 100}%`;
    table.append(
      element("tr", best ? { class: "best" } : {}, element("th", { scope: "row" }, name),
        element("td", { class: "graph" }, bar), element("td", { class: "number" }, format(share))),
    );
  }
  return table;
}

/** The text with marks on its spans; `describe` gives {kind, note, title} of one. */
function marked(text, spans, describe) {
  const parts = pieces(text, spans).map(({ text: part, span }) => {
    if (span === null) return part;
    const { kind, note, title } = describe(span);
    const made = element("mark", { class: `m${kind}` }, part, note ? element("small", {}, note) : null);
    if (title) made.title = title;
    return made;
  });
  return element("p", { class: "text" }, ...parts);
}

function percent(share) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`;
}

function number(value) {
  return value === null || value === undefined ? "–" : String(Number(value.toPrecision(4)));
}
