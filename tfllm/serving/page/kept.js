// What the browser keeps of the page: the language for good, the token until its window is closed.

const values = new Map(); // where the browser's storage is blocked, they last as long as the page

/** The value kept under a name in "localStorage" or "sessionStorage"; null if there is none. */
export function read(storage, name) {
  if (values.has(name)) return values.get(name);
  try {
    return window[storage].getItem(name);
  } catch {
    return null;
  }
}

/** Keep a value. */
export function keep(storage, name, value) {
  values.set(name, value);
  try {
    window[storage].setItem(name, value);
  } catch {
    // blocked, or full
  }
}
