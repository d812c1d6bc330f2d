// Positions: the server counts characters (code points), JavaScript's strings count UTF-16 units.

/**
 * A text as pieces in order: {text, span}; `span` is one of the spans, or null between them.
 *
 * Spans are {start, end} in characters. What lies outside of the text or overlaps an earlier span is left out.
 */
export function pieces(text, spans) {
  const characters = Array.from(text);
  const found = [];
  let at = 0;
  for (const span of [...spans].sort((a, b) => a.start - b.start || b.end - a.end)) {
    if (span.start < at || span.end <= span.start || span.end > characters.length) continue;
    if (span.start > at) found.push({ text: characters.slice(at, span.start).join(""), span: null });
    found.push({ text: characters.slice(span.start, span.end).join(""), span });
    at = span.end;
  }
  if (at < characters.length) found.push({ text: characters.slice(at).join(""), span: null });
  return found;
}

/** JSON as TensorFlow Serving writes it: NaN and Infinity may stand where numbers do; they become null. */
export function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    const token = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity|inf)\b/g;
    return JSON.parse(text.replace(token, (found) => (found.startsWith('"') ? found : "null")));
  }
}
