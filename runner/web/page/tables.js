// Tables whose rows and cells stay where they are while their texts change.

import { keep, make, mark, say } from "/page/dom.js";

/**
 * A table of `columns`: {title, text(item), tone?(item), more?(item), class?}. `more` is a second,
 * quieter line; `head: true` makes the cell the row's header.
 */
export class Table {
  constructor(place, caption, columns, keyOf) {
    this.columns = columns;
    this.keyOf = keyOf;
    this.rows = new Map();
    // On a phone rows are no table to look at; the roles say that they are one all the same.
    this.body = make("tbody", { role: "rowgroup" });
    const heads = columns.map((one) => make("th", { scope: "col", role: "columnheader", class: one.class }, one.title));
    this.element = make(
      "table",
      { role: "table" },
      make("caption", { class: "unseen" }, caption),
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)),
      this.body,
    );
    place.append(this.element);
  }

  set(items) {
    keep(this.body, this.rows, items, this.keyOf, () => this.row(), (row, item) => row.set(item));
  }

  row() {
    const cells = this.columns.map((one) => {
      const [first, second] = [make("span", { class: "first" }), make("span", { class: "more" })];
      const tag = one.head ? "th" : "td";
      const role = one.head ? "rowheader" : "cell";
      const kind = { class: one.class, role, scope: one.head ? "row" : null, "data-title": one.title };
      return { one, first, second, cell: make(tag, kind, first, second) };
    });
    const set = (item) => {
      for (const { one, first, second, cell } of cells) {
        say(first, one.text(item));
        say(second, one.more?.(item) ?? "");
        mark(cell, "data-tone", one.tone?.(item) ?? null);
        if (one.title_of) mark(first, "title", one.title_of(item));
      }
    };
    return { element: make("tr", { role: "row" }, ...cells.map((one) => one.cell)), set };
  }
}
