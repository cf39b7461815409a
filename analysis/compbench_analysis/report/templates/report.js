"use strict";
// The page works without this script but for sorting and the browser of examples. Text enters the page as text:
// nothing here writes HTML.

const PAGE_SIZE = 6;
const MOST_SIDE_BY_SIDE = 3; // models whose scores stand on a card at once

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/* ---- light and dark ------------------------------------------------------------------------------------------- */

const isDark = () =>
  (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function changeTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
}

/* ---- tables --------------------------------------------------------------------------------------------------- */

// numbers before words, what is not known last whichever way
function compare(a, b, sign) {
  const missing = (text) => text === "" || text === "nan";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const [x, y] = [Number(a), Number(b)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return sign * (x - y);
  return sign * a.localeCompare(b, undefined, { numeric: true });
}

function sortBy(table, column) {
  const heading = table.tHead.rows[0].cells[column];
  const isNumber = heading.classList.contains("number");
  const was = heading.getAttribute("aria-sort");
  const order = was === null ? (isNumber ? "descending" : "ascending") : was === "ascending" ? "descending" : "ascending";
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  const key = (row) => row.cells[column].dataset.sort;
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => compare(key(a), key(b), order === "ascending" ? 1 : -1));
  table.tBodies[0].append(...rows);
}

/* ---- one of several tables, by its metric and tag -------------------------------------------------------------- */

function choose(chooser) {
  const choices = [...chooser.querySelectorAll(":scope > .choice")];
  if (choices.length < 2) return;
  const options = (name) => [...new Set(choices.map((choice) => choice.dataset[name]))].filter(Boolean);
  const show = () => {
    for (const choice of choices)
      choice.hidden = selects.some(([name, select]) => select && choice.dataset[name] !== select.value);
  };
  const selects = [["metric", "score"], ["tag", "examples"]].map(([name, label]) => {
    const values = options(name);
    if (values.length < 2) return [name, null];
    const select = make("select", { ariaLabel: label }, ...values.map((value) => make("option", { value }, value)));
    if (values.includes("group")) select.value = "group";
    select.addEventListener("change", show);
    return [name, select, make("label", { className: "field" }, make("span", {}, label), select)];
  });
  chooser.prepend(make("div", { className: "filter-row choose" }, ...selects.map(([, , field]) => field || null)));
  chooser.classList.add("is-live");
  show();
}

/* ---- one example ---------------------------------------------------------------------------------------------- */

const letter = (position) => String.fromCharCode(97 + (position % 26));
const MARK = { 1: "✓", 0: "✗", "-1": "=" };
const WORD = { 1: "right", 0: "wrong", "-1": "tied" };

// as many decimals for all scores and margins of a model: four digits of a usual margin
function decimalsOf(data, model) {
  data.decimals ??= data.models.map((_, n) => {
    const sizes = data.examples.flatMap((example) => (example.r[n] ? Object.values(example.r[n].d).map((found) => Math.abs(found[0])) : []));
    const usual = sizes.filter((size) => size > 0).sort((a, b) => a - b)[Math.floor(sizes.length / 2)] || 1;
    return Math.max(0, Math.min(12, 3 - Math.floor(Math.log10(usual))));
  });
  return data.decimals[model];
}

function written(value, digits) {
  if (value === null || value === undefined) return "–";
  const text = value.toFixed(digits);
  const shown = Number(text) === 0 ? (value === 0 ? text.replace("-", "") : value.toExponential(0)) : text;
  return shown.replaceAll("-", "−");
}

function marginText(margin, error, digits) {
  const text = (margin > 0 ? "+" : "") + written(margin, digits);
  return error === null || error === undefined ? text : `${text} ± ${written(error, digits)}`;
}

function picture(data, example, position) {
  const row = example.p[position];
  const name = example.n[position];
  const label = `image ${position + 1}`;
  const [width, height] = data.sizes[row] || [];
  const shown =
    row >= 0
      ? make("img", { width, height, alt: `${label}: ${name}`, decoding: "async", loading: "lazy", src: data.pictures[row] })
      : make("div", { className: "no-picture" }, name || "no picture");
  return make("figure", { title: name }, shown, make("figcaption", {}, String(position + 1)));
}

function caption(data, example, position) {
  const text = data.captions[example.c[position]];
  const number = example.k[position] + 1;
  const shown = text === undefined ? make("em", {}, `caption ${number}, left out`) : text;
  return make("li", {}, make("span", { className: "letter" }, letter(position)), make("span", {}, shown));
}

function matrix(data, example, result, digits) {
  const values = result.s.flat().filter((value) => value !== null);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const head = make("tr", {}, make("td", {}), ...example.p.map((_, i) => make("th", { scope: "col" }, String(i + 1))));
  const rows = example.c.map((_, c) => {
    const cells = result.s.map((scores, i) => {
      const share = high > low ? (scores[c] - low) / (high - low) : 0;
      const cell = make("td", { className: example.m[i][c] ? "is-true" : "" }, written(scores[c], digits));
      cell.title = String(scores[c]);
      cell.style.setProperty("--share", share.toFixed(2));
      return cell;
    });
    return make("tr", {}, make("th", { scope: "row" }, letter(c)), ...cells);
  });
  const table = make("table", { className: "matrix" }, make("thead", {}, head), make("tbody", {}, ...rows));
  return make("div", { className: "scroll" }, table);
}

const headingOf = (data, metric) => data.headings[data.metrics.indexOf(metric)];

function badge(data, result, metric, digits) {
  const name = headingOf(data, metric);
  const outcome = result.o[metric];
  if (outcome === undefined) return [];
  const [margin, error, flip] = result.d[metric] || [];
  const said = [`${name} is ${WORD[outcome]}`];
  if (error !== null && error !== undefined) said.push("margin ± its standard error over draws");
  if (flip !== null && flip !== undefined) said.push(`another set of draws decides otherwise with probability ${flip.toFixed(3)}`);
  const title = said.join("; ");
  return [
    make("dt", { className: `is-${WORD[outcome]}`, title }, `${MARK[outcome]} ${name}`),
    make("dd", { title }, margin === undefined ? "" : marginText(margin, error, digits)),
  ];
}

function resultOf(data, example, model) {
  const result = example.r[model];
  const heading = make("h4", { className: `model-${model}` }, make("span", { className: "swatch" }), data.models[model]);
  if (!result) return make("section", { className: "result" }, heading, make("p", { className: "note" }, "not measured"));
  const digits = decimalsOf(data, model);
  const badges = data.metrics.flatMap((metric) => badge(data, result, metric, digits));
  return make(
    "section",
    { className: `result model-${model}` },
    make("div", {}, heading, make("dl", { className: "badges" }, ...badges)),
    data.models.length > MOST_SIDE_BY_SIDE ? folded(data, example, result, digits) : matrix(data, example, result, digits),
  );
}

// the scores, made when they are first looked at
function folded(data, example, result, digits) {
  const details = make("details", { className: "folded" }, make("summary", {}, "scores"));
  details.addEventListener("toggle", () => details.querySelector("table") || details.append(matrix(data, example, result, digits)), { once: true });
  return details;
}

function maps(example) {
  if (!example.x.length) return null;
  const details = make("details", { className: "maps" }, make("summary", {}, "Where in the image"));
  details.addEventListener("toggle", () => {
    if (details.querySelector("img")) return; // made when first looked at
    for (const each of example.x) {
      const said = `${each.model}: ${each.about}`;
      details.append(make("figure", {}, make("img", { src: each.src, alt: said }), make("figcaption", {}, said)));
    }
  });
  return details;
}

function card(data, example) {
  const address = new URLSearchParams({ task: data.task, id: example.id });
  const tags = example.t.flatMap((values, column) =>
    values.map((value) => make("span", { className: "tag", title: data.columns[column] }, value)),
  );
  const node = make(
    "article",
    { className: "card", tabIndex: -1 },
    make("header", {}, make("h3", {}, make("a", { className: "card-id", href: `#${address}`, title: "link to this example" }, example.id)), ...tags),
    make(
      "div",
      { className: "asked" },
      make("div", { className: "pictures" }, ...example.p.map((_, i) => picture(data, example, i))),
      make("ol", { className: "captions" }, ...example.c.map((_, c) => caption(data, example, c))),
    ),
    make("div", { className: "results" }, ...data.models.map((_, model) => resultOf(data, example, model))),
    maps(example),
  );
  node.dataset.id = example.id;
  return node;
}

/* ---- the browser ---------------------------------------------------------------------------------------------- */

class Browser {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.page = 0;
    this.chosen = null; // id of the example that the keys are at
    this.shown = data.examples;
    this.words = null;
    this.build();
    this.apply();
  }

  build() {
    const { data } = this;
    const select = (label, options, changed = () => this.changed()) => {
      const node = make("select", { ariaLabel: label, title: label }, ...options.map(([value, text]) => make("option", { value }, text)));
      node.addEventListener("change", changed);
      return node;
    };
    this.search = make("input", { type: "search", placeholder: "search captions, ids, tags", ariaLabel: "search" });
    this.search.addEventListener("input", () => this.changed());
    this.metric = select("which score decides right and wrong", data.metrics.map((name) => [name, `${headingOf(data, name)} score`]));
    if (data.metrics.includes("group")) this.metric.value = "group";
    const states = [["", "any"], ["right", "right"], ["wrong", "wrong"], ["tied", "tied"]];
    this.models = data.models.map((name) => select(`outcome of ${name}`, states));
    this.pair = select("which of two models is right", [["", "any outcome"], ...this.pairs()], () => this.setPair());
    this.tags = data.columns.map((name, column) => {
      const values = [...new Set(data.examples.flatMap((example) => example.t[column]))];
      if (values.length > 6) values.sort(); // fewer stay in the task's own order
      return select(name, [["", `any ${name}`], ...values.map((value) => [value, value])]);
    });
    const bound = (label) => {
      const node = make("input", { type: "number", step: "any", placeholder: label, ariaLabel: `margin ${label}` });
      node.addEventListener("input", () => this.changed());
      return node;
    };
    this.marginOf = select("whose margin", data.models.map((name, model) => [String(model), name]));
    [this.least, this.most] = [bound("from"), bound("to")];
    this.close = make("input", { type: "checkbox" });
    this.close.addEventListener("change", () => this.changed());
    const orders = [["", "order of the task"], ["up", "margin, smallest first"], ["down", "margin, largest first"], ["near", "margin, closest to 0 first"]];
    this.order = select("order", orders);
    this.count = make("output", { className: "count-shown", ariaLive: "polite" });
    const reset = make("button", { type: "button", className: "quiet" }, "drop filters");
    reset.addEventListener("click", () => this.reset());
    const field = (label, ...nodes) => make("label", { className: "field" }, make("span", {}, label), ...nodes);
    const hasErrors = data.examples.some((example) => example.r.some((result) => result && Object.values(result.d).some((each) => each[1] !== null)));
    this.filters = make(
      "div",
      { className: "filters" },
      make("div", { className: "filter-row" }, this.search, this.metric, data.models.length > 1 ? this.pair : null, ...this.tags),
      make(
        "details",
        {},
        make("summary", {}, "outcome of each model, margin, order"),
        make(
          "div",
          { className: "filter-row" },
          ...this.models.map((node, model) => field(data.models[model], node)),
          field("margin of", this.marginOf),
          field("from", this.least),
          field("to", this.most),
          hasErrors ? field("within 2 standard errors of 0", this.close) : null,
          field("order", this.order),
        ),
      ),
      make("div", { className: "filter-row is-last" }, this.count, reset),
    );
    this.cards = make("div", { className: "cards" });
    this.pager = make("div", { className: "pager" });
    this.root.append(this.filters, this.cards, this.pager);
    this.root.addEventListener("pointerdown", () => (Browser.current = this));
    this.root.addEventListener("focusin", () => (Browser.current = this));
  }

  pairs() {
    const { models } = this.data;
    const options = [];
    for (let a = 0; a < models.length; a++)
      for (let b = 0; b < models.length; b++) {
        if (a === b) continue;
        options.push([`${a}:right,${b}:wrong`, `${models[a]} right, ${models[b]} wrong`]);
        if (a < b) options.push([`${a}:right,${b}:right`, `${models[a]} and ${models[b]} right`]);
        if (a < b) options.push([`${a}:wrong,${b}:wrong`, `${models[a]} and ${models[b]} wrong`]);
      }
    return options;
  }

  setPair() {
    for (const node of this.models) node.value = "";
    for (const each of this.pair.value.split(",").filter(Boolean)) {
      const [model, state] = each.split(":");
      this.models[Number(model)].value = state;
    }
    this.changed();
  }

  margin(example, model) {
    const result = example.r[model];
    if (!result) return null;
    const own = result.d[this.metric.value];
    const known = own ? [own] : this.metric.value === "group" ? Object.values(result.d) : [];
    // a group is right where all its margins are positive: its margin is the smallest
    return known.length ? known.reduce((least, each) => (each[0] < least[0] ? each : least)) : null;
  }

  // a tie is wrong, and can be asked for by itself
  isIn(example, model, state) {
    const outcome = example.r[model] ? example.r[model].o[this.metric.value] : undefined;
    if (outcome === undefined) return false;
    return state === "right" ? outcome === 1 : state === "tied" ? outcome === -1 : outcome !== 1;
  }

  text(example) {
    if (this.words === null) this.words = new Map();
    if (!this.words.has(example)) {
      const captions = example.c.map((row) => this.data.captions[row] || "");
      this.words.set(example, [example.id, ...captions, ...example.t.flat(), ...example.n].join("\n").toLowerCase());
    }
    return this.words.get(example);
  }

  lets(example) {
    const words = this.search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.every((word) => this.text(example).includes(word))) return false;
    if (!this.tags.every((node, column) => !node.value || example.t[column].includes(node.value))) return false;
    if (!this.models.every((node, model) => !node.value || this.isIn(example, model, node.value))) return false;
    const [least, most] = [this.least.valueAsNumber, this.most.valueAsNumber];
    if (Number.isNaN(least) && Number.isNaN(most) && !this.close.checked) return true;
    const found = this.margin(example, Number(this.marginOf.value));
    if (!found) return false;
    if (found[0] < least || found[0] > most) return false;
    return !this.close.checked || (found[1] !== null && Math.abs(found[0]) < 2 * found[1]);
  }

  apply() {
    const { examples } = this.data;
    this.shown = examples.filter((example) => this.lets(example));
    const order = this.order.value;
    if (order) {
      const margins = new Map(this.shown.map((each) => [each, this.margin(each, Number(this.marginOf.value))]));
      const key = (each) => {
        const found = margins.get(each);
        if (!found) return Infinity;
        return order === "down" ? -found[0] : order === "near" ? Math.abs(found[0]) : found[0];
      };
      this.shown.sort((a, b) => key(a) - key(b) || 0);
    }
    this.page = 0;
    this.draw();
  }

  changed() {
    const states = this.models.map((node, model) => node.value && `${model}:${node.value}`).filter(Boolean).join(",");
    this.pair.value = [...this.pair.options].some((option) => option.value === states) ? states : "";
    this.chosen = null;
    this.apply();
    history.replaceState(null, "", `#${this.address()}`);
  }

  reset() {
    for (const node of [this.search, this.pair, this.least, this.most, this.order, ...this.models, ...this.tags]) node.value = "";
    this.close.checked = false;
    this.changed();
  }

  address() {
    const found = new URLSearchParams({ task: this.data.task });
    if (this.search.value) found.set("q", this.search.value);
    found.set("metric", this.metric.value);
    this.models.forEach((node, model) => node.value && found.set(`m${model}`, node.value));
    this.tags.forEach((node, column) => {
      if (!node.value) return;
      found.append("column", this.data.columns[column]);
      found.append("tag", node.value);
    });
    return found;
  }

  // what a link asks for: one example, or a filter
  open(asked) {
    Browser.current = this;
    const id = asked.get("id");
    for (const node of [this.search, this.least, this.most, this.order, ...this.models, ...this.tags]) node.value = "";
    this.close.checked = false;
    if (asked.has("metric")) this.metric.value = asked.get("metric");
    this.search.value = asked.get("q") || "";
    this.models.forEach((node, model) => (node.value = asked.get(`m${model}`) || ""));
    const tags = asked.getAll("tag");
    asked.getAll("column").forEach((name, n) => {
      const column = this.data.columns.indexOf(name);
      if (column >= 0) this.tags[column].value = tags[n];
    });
    const states = this.models.map((node, model) => node.value && `${model}:${node.value}`).filter(Boolean).join(",");
    this.pair.value = [...this.pair.options].some((option) => option.value === states) ? states : "";
    this.chosen = null;
    this.apply();
    if (id !== null) this.choose(this.shown.findIndex((example) => example.id === id));
    else this.root.closest("section").scrollIntoView();
  }

  draw() {
    const { shown } = this;
    const pages = Math.max(1, Math.ceil(shown.length / PAGE_SIZE));
    this.page = Math.min(Math.max(this.page, 0), pages - 1);
    const some = shown.slice(this.page * PAGE_SIZE, (this.page + 1) * PAGE_SIZE);
    this.cards.replaceChildren(...some.map((example) => card(this.data, example)));
    const all = this.data.examples.length;
    this.count.textContent = shown.length === all ? `${all.toLocaleString("en")} examples` : `${shown.length.toLocaleString("en")} of ${all.toLocaleString("en")} examples`;
    if (!shown.length) this.cards.append(make("p", { className: "about" }, all ? "No example is like this." : "Nothing is measured yet."));
    const turn = (by, text) => {
      const node = make("button", { type: "button", disabled: this.page + by < 0 || this.page + by >= pages }, text);
      node.addEventListener("click", () => this.turn(by));
      return node;
    };
    this.pager.replaceChildren(...(pages > 1 ? [turn(-1, "← previous"), make("span", {}, `page ${this.page + 1} of ${pages}`), turn(1, "next →")] : []));
    this.mark();
  }

  turn(by) {
    this.page += by;
    this.chosen = null;
    this.draw();
    this.filters.scrollIntoView();
  }

  mark() {
    for (const node of this.cards.children) node.classList.toggle("is-chosen", node.dataset.id === this.chosen);
  }

  choose(position) {
    if (position < 0 || position >= this.shown.length) return;
    this.chosen = this.shown[position].id;
    const page = Math.floor(position / PAGE_SIZE);
    if (page !== this.page) {
      this.page = page;
      this.draw();
    }
    this.mark();
    const node = this.cards.children[position - page * PAGE_SIZE];
    node.focus({ preventScroll: true });
    node.scrollIntoView({ block: "nearest" });
  }

  move(by) {
    const at = this.shown.findIndex((example) => example.id === this.chosen);
    if (at < 0) this.choose(this.page * PAGE_SIZE + (by > 0 ? 0 : Math.min(PAGE_SIZE, this.shown.length) - 1));
    else this.choose(at + by);
  }
}

/* ---- the page ------------------------------------------------------------------------------------------------- */

for (const chooser of document.querySelectorAll(".chooser")) choose(chooser);
const browsers = [...document.querySelectorAll("[data-browser]")].map((root) => {
  const data = JSON.parse(document.getElementById(root.dataset.browser).textContent);
  return new Browser(root, data);
});
Browser.current = browsers[0];

// the task that is on the screen, unless one was touched last
function nearest() {
  const middle = innerHeight / 2;
  const distance = (browser) => {
    const box = browser.root.closest(".task").getBoundingClientRect();
    return box.top <= middle && box.bottom >= middle ? 0 : Math.min(Math.abs(box.top - middle), Math.abs(box.bottom - middle));
  };
  return browsers.reduce((best, each) => (distance(each) < distance(best) ? each : best), Browser.current);
}

function follow() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const browser = browsers.find((each) => each.data.task === asked.get("task"));
  if (browser) browser.open(asked);
}

const KEYS = {
  j: (browser) => browser.move(1),
  k: (browser) => browser.move(-1),
  ArrowRight: (browser) => browser.move(1),
  ArrowLeft: (browser) => browser.move(-1),
  ArrowDown: (browser) => (browser.chosen === null ? false : browser.move(1)),
  ArrowUp: (browser) => (browser.chosen === null ? false : browser.move(-1)),
  n: (browser) => browser.turn(1),
  p: (browser) => browser.turn(-1),
  x: (browser) => browser.reset(),
  "/": (browser) => browser.search.focus(),
  t: () => changeTheme(),
  "?": () => document.getElementById("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.target.closest(".scroll") && event.key.startsWith("Arrow")) return; // a wide table moves under the arrows
  if (!browsers.length && event.key !== "t") return; // the leaderboard has no examples
  const act = KEYS[event.key];
  if (act && act(nearest()) !== false) event.preventDefault();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("table.sortable thead button");
  if (button) sortBy(button.closest("table"), button.closest("th").cellIndex);
});
document.getElementById("theme").addEventListener("click", changeTheme);
document.getElementById("help-button")?.addEventListener("click", () => document.getElementById("help").showModal());
addEventListener("hashchange", follow);
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("main details:not([open])")].filter((each) => !each.closest(".card, .filters"));
  for (const each of opened) each.open = true;
});
addEventListener("afterprint", () => opened.forEach((each) => (each.open = false)));
follow();
