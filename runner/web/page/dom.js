// Makes and changes elements. Whatever is shown goes in as text: nothing here ever reads HTML.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** Make an element with attributes and children; a child that is no element is text. */
export function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Make an element of a drawing. */
export function draw(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Change a text only where it differs: a selection in it, and what is read aloud, stay. */
export function say(element, text) {
  const wanted = String(text ?? "");
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Change an attribute only where it differs; null and false take it away. */
export function mark(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

/**
 * Keep one child of `parent` for each item, in the items' order, made and changed by its key. What
 * stays is not moved where others go: that would cost its focus and how far it was scrolled.
 */
export function keep(parent, kept, items, keyOf, makeOne, changeOne) {
  const wanted = byKey(items, keyOf);
  for (const [key, one] of kept) {
    if (!wanted.has(key)) {
      one.element.remove();
      one.gone?.();
      kept.delete(key);
    }
  }
  let next = parent.firstElementChild;
  for (const [key, item] of wanted) {
    let one = kept.get(key);
    if (one === undefined) kept.set(key, (one = makeOne(item)));
    changeOne(one, item);
    if (one.element === next) next = next.nextElementSibling;
    else parent.insertBefore(one.element, next);
  }
}

/** The items by their keys; one whose key another has gets one of its own. */
function byKey(items, keyOf) {
  const found = new Map();
  for (const item of items) {
    let key = keyOf(item);
    while (found.has(key)) key = `${key} again`;
    found.set(key, item);
  }
  return found;
}

/** A bar that says its numbers to who does not see it. */
export function bar(label) {
  const fill = make("span", { class: "fill" });
  const track = make("span", { class: "track", role: "meter", "aria-label": label }, fill);
  mark(track, "aria-valuemin", 0);
  mark(track, "aria-valuemax", 100);
  const set = (used, all, text, tone = "") => {
    const share = all > 0 && used !== null ? Math.min(1, Math.max(0, used / all)) : 0;
    const percent = Math.round(share * 100);
    fill.style.setProperty("inline-size", `${percent}%`);
    mark(track, "aria-valuenow", percent);
    mark(track, "aria-valuetext", text);
    mark(track, "data-tone", tone || (used > all * 1.02 ? "bad" : null));
  };
  set(0, 1, "");
  return { element: track, set };
}
