"use strict";
// The gallery's page: draws the examples as they come into view, sorts, filters and compares two images of one.
// What is looked at (filters, order, the open example) is in the address, so that it can be sent and gone back to.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const BATCH = 24; // cards made at a time
const models = new Map(data.models.map((m) => [m.id, m]));
const shown = data.models.filter((m) => m.shown);
const metrics = new Map(data.metrics.map((m) => [m.id, m]));
let order = data.examples, made = 0, here = 0;

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// numbers

const printed = (value, metric) => (metric.scale * value).toFixed(metric.digits);
const score = (example, model, metric) => example.edits[model]?.scores[metric];

function disagreement(example, metric) {
  const values = shown.map((m) => score(example, m.id, metric)).filter((v) => v !== undefined);
  return values.length > 1 ? Math.max(...values) - Math.min(...values) : undefined;
}

function difference(example, metric, model, other) {
  const [a, b] = [score(example, model, metric), score(example, other, metric)];
  return a === undefined || b === undefined ? undefined : a - b;
}

function key(example, sort) {
  const [kind, metric, model, other] = sort.split(":");
  if (kind === "score") return score(example, model, metric);
  if (kind === "difference") return difference(example, metric, model, other);
  return kind === "disagreement" ? disagreement(example, metric) : undefined;
}

// sorting and filtering

function options() {
  const option = (text, value) => element("option", { value }, text);
  $("dataset").append(option(`all (${data.examples.length})`, ""));
  for (const [id, name] of Object.entries(data.datasets)) {
    const count = data.examples.filter((e) => e.dataset === id).length;
    $("dataset").append(option(`${name} (${count})`, id));
  }
  const families = Map.groupBy(data.examples.filter((e) => e.family), (e) => e.family);
  $("family").append(option("all", ""));
  for (const id of [...families.keys()].sort()) $("family").append(option(`${id} (${families.get(id).length})`, id));
  $("family").parentElement.hidden = !families.size;
  $("sort").append(option("the dataset's order", "order"));
  for (const m of data.metrics) {
    const group = element("optgroup", { label: m.name });
    if (shown.length > 1) group.append(option(`disagreement in ${m.short}`, `disagreement:${m.id}`));
    for (const [place, other] of shown.entries()) for (const model of shown.slice(place + 1)) {
      group.append(option(`${m.short}, ${model.name} minus ${other.name}`, `difference:${m.id}:${model.id}:${other.id}`));
    }
    for (const model of data.models) group.append(option(`${m.short} of ${model.name}`, `score:${m.id}:${model.id}`));
    $("sort").append(group);
  }
}

function arrange() {
  const dataset = $("dataset").value, family = $("family").value, sort = $("sort").value;
  const words = $("words").value.trim().toLowerCase();
  const has = (e) => !words || `${e.instruction} ${e.id}`.toLowerCase().includes(words);
  order = data.examples.filter((e) => (!dataset || e.dataset === dataset) && (!family || e.family === family) && has(e));
  const sorted = sort !== "order", sign = $("order").value === "down" ? -1 : 1;
  $("order").disabled = !sorted;
  let without = 0;
  if (sorted) {
    const keyed = order.map((e, place) => [key(e, sort), place, e]);
    without = keyed.filter(([value]) => value === undefined).length;
    keyed.sort(([a, i], [b, j]) => (a === undefined) - (b === undefined) || sign * (a - b) || i - j);
    order = keyed.map(([, , e]) => e);
  }
  const last = without ? `; ${without} without this score at the end` : "";
  $("count").textContent = `${order.length} of ${data.examples.length} examples${last}`;
  $("list").replaceChildren();
  made = 0;
  here = 0;
  grow();
}

function grow(upto = made + BATCH) {
  const end = Math.min(upto, order.length), cards = document.createDocumentFragment();
  for (; made < end; made += 1) cards.append(card(order[made], made));
  $("list").append(cards);
  if (!order.length) $("list").replaceChildren(element("p", {}, "No example has these words in this choice."));
}

// one example in the list

function picture(shot, alt, click) {
  if (!shot || !shot.file) return element("div", { class: "lost", role: "img", "aria-label": `${alt}: ${shot?.reason ?? "not run"}` }, shot?.reason ?? "not run");
  const image = element("img", { src: shot.file, alt, width: shot.width, height: shot.height, loading: "lazy", decoding: "async",
    class: Math.max(shot.width, shot.height) <= 128 ? "small" : null,
    onerror: (event) => event.target.closest("button").replaceWith(gone(shot, alt)) });
  return element("button", { type: "button", onclick: click, "aria-label": `${alt}: compare` }, image);
}

// the file was there when the page was made
const absent = (shot) => `${shot.file} is not beside this page`;
const gone = (shot, alt) => element("div", { class: "lost", role: "img", "aria-label": `${alt}: ${absent(shot)}` }, absent(shot));

function ranked(example) {
  const chosen = $("sort").value.split(":")[1] ?? data.metrics.map((m) => m.id).find((id) => shown.some((m) => score(example, m.id, id) !== undefined));
  return metrics.get(chosen);
}

function card(example, place) {
  const metric = ranked(example), row = element("div", { class: "row" });
  const figure = (name, shot, value, right) => row.append(element("figure", {},
    picture(shot, `${name}, ${example.instruction}`, () => open(place, right)),
    element("figcaption", {}, element("b", {}, name), value ? element("span", {}, ` ${value}`) : null)));
  figure("Input", example.input, "", null);
  for (const m of shown) {
    const value = metric && score(example, m.id, metric.id);
    figure(m.name, example.edits[m.id]?.image, value === undefined || !metric ? "" : `${metric.short} ${printed(value, metric)}`, m.id);
  }
  figure("Goal", example.goal, "", "goal");
  const texts = element("dl");
  for (const m of shown) {
    const text = example.edits[m.id]?.text;
    if (text) texts.append(element("dt", {}, m.name), element("dd", {}, text));
  }
  const node = element("article", { tabindex: "-1", "data-id": example.id, "aria-label": example.instruction },
    element("h2", {}, example.instruction), element("p", { class: "id" }, `${data.datasets[example.dataset]} · ${example.id}`), row, texts);
  node.addEventListener("focusin", () => select(place, false));
  return node;
}

function select(place, focus = true) {
  if (place < 0 || place >= order.length) return;
  if (place >= made) grow(place + BATCH);
  here = place;
  for (const node of document.querySelectorAll("article.here")) node.classList.remove("here");
  const node = $("list").children[place];
  node.classList.add("here");
  if (focus) {
    node.focus({ preventScroll: true });
    node.scrollIntoView({ block: "nearest" });
  }
}

// two images of one example

const shotOf = (example, side) => (side === "input" || side === "goal" ? example[side] : example.edits[side]?.image);
const sides = [["input", "Input"], ...shown.map((m) => [m.id, m.name]), ["goal", "Goal"]];
const nameOf = (side) => sides.find(([id]) => id === side)[1];

function open(place, right, push = true) {
  select(place, false);
  if (right) $("right").value = right;
  const already = $("view").open;
  if (!already) $("view").showModal();
  fill();
  remember(push && !already);
}

function fill() {
  const example = order[here];
  $("view-title").textContent = example.instruction;
  $("view-id").textContent = `${data.datasets[example.dataset]} · ${example.id} · ${here + 1} of ${order.length}`;
  $("back").disabled = here === 0;
  $("next").disabled = here === order.length - 1;
  compare();
  $("texts").replaceChildren(element("dt", {}, "Instruction"), element("dd", {}, example.instruction));
  for (const m of shown) {
    const text = example.edits[m.id]?.text;
    if (text) $("texts").append(element("dt", {}, m.name), element("dd", {}, text));
  }
  if (example.caption) $("texts").append(element("dt", {}, "Goal caption (CTS reads it)"), element("dd", {}, example.caption));
  table(example);
}

function compare() {
  const example = order[here], mode = document.querySelector("input[name=mode]:checked").value;
  const pair = [["under", $("left").value], ["over", $("right").value]], lost = [];
  for (const [id, side] of pair) {
    const shot = shotOf(example, side), image = $(id);
    image.hidden = !shot?.file;
    image.onerror = () => {
      image.hidden = true;
      lost.push(`${nameOf(side)}: ${absent(shot)}`);
      $("lost").textContent = lost.join("; ");
      $("line").hidden = true;
    };
    image.alt = `${nameOf(side)}, ${example.instruction}`;
    if (shot?.file) {
      if (image.getAttribute("src") !== shot.file || (image.complete && !image.naturalWidth)) image.src = shot.file;
      image.width = shot.width;
      image.height = shot.height;
      image.classList.toggle("small", Math.max(shot.width, shot.height) <= 128);
    } else lost.push(`${nameOf(side)}: ${shot?.reason ?? "not run"}`);
  }
  // a wider frame than the left image would move the two apart
  $("under").style.objectFit = $("over").style.objectFit = mode === "beside" ? "contain" : "fill";
  const left = shotOf(example, pair[0][1]);
  $("stage").style.maxWidth = $("divider-label").style.maxWidth = mode === "beside" || !left?.file ? "" : `calc(62dvh * ${left.width / left.height})`;
  $("stage").dataset.mode = mode;
  $("lost").textContent = lost.join("; ");
  $("line").hidden = lost.length > 0;
  $("divider-label").hidden = mode !== "slider";
  $("gain-label").hidden = mode !== "difference";
  $("sides").textContent = `${nameOf(pair[0][1])} on the left, ${nameOf(pair[1][1])} on the right${
    mode === "difference" ? ": black where they are equal" : ""}.`;
  slide();
}

function slide() {
  $("stage").style.setProperty("--at", `${$("divider").value}%`);
  $("stage").style.setProperty("--gain", $("gain").value);
  $("divider").setAttribute("aria-valuetext", `${$("divider").value} % ${nameOf($("left").value)}`);
}

function table(example) {
  const used = data.metrics.filter((m) => data.models.some((x) => example.edits[x.id] && (m.id in example.edits[x.id].scores || m.id in example.edits[x.id].reasons)));
  const head = element("tr", {}, element("th", { scope: "col" }, "Model"), ...used.map((m) => element("th", { scope: "col" }, m.name)));
  const reasons = new Set(), rows = [];
  for (const model of data.models.filter((m) => example.edits[m.id])) {
    const edit = example.edits[model.id], cells = used.map((m) => {
      const value = edit.scores[m.id], all = shown.map((x) => score(example, x.id, m.id)).filter((v) => v !== undefined);
      if (value === undefined) {
        if (edit.reasons[m.id]) reasons.add(`${model.name}, ${m.short}: ${edit.reasons[m.id]}`);
        return element("td", {}, "none");
      }
      const best = model.shown && all.length > 1 && value === (m.lower ? Math.min(...all) : Math.max(...all));
      return element("td", { class: best ? "best" : null }, printed(value, m));
    });
    rows.push(element("tr", {}, element("th", { scope: "row" }, model.name), ...cells));
  }
  $("scores").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
  $("reasons").textContent = [...reasons].join("; ") || "Best of the models in bold.";
}

// the address

const CHOICES = ["dataset", "family", "words", "sort", "order"], USUAL = { dataset: "", family: "", words: "", sort: "order", order: "down" };

function address() {
  const parts = new URLSearchParams(CHOICES.filter((id) => $(id).value !== USUAL[id]).map((id) => [id, $(id).value]));
  if ($("view").open) parts.set("example", order[here].id);
  return `#${parts}`;
}

function remember(push = false) {
  if (address() === (location.hash || "#")) return;
  try { history[push ? "pushState" : "replaceState"]({ opened: push || Boolean(history.state?.opened && $("view").open) }, "", address()); }
  catch { /* some browsers refuse on file:// */ }
}

function recall() {
  const text = location.hash.slice(1), parts = new URLSearchParams(text.includes("=") || !text ? text : `example=${text}`);
  let changed = false;
  for (const id of CHOICES) {
    const asked = parts.get(id) ?? USUAL[id], options = [...($(id).options ?? [])];
    const value = options.length && !options.some((o) => o.value === asked) ? USUAL[id] : asked;
    if ($(id).value !== value) { $(id).value = value; changed = true; }
  }
  if (changed) arrange();
  const place = order.findIndex((e) => e.id === parts.get("example"));
  if (place >= 0) open(place, null, false); // the same address in other signs is no further step back
  else if ($("view").open) $("view").close();
}

function chosen() {
  arrange();
  remember();
}

// keys, pointer, start

function step(by) {
  const place = here + by;
  if (place < 0 || place >= order.length) return;
  select(place, !$("view").open);
  if ($("view").open) fill();
  remember();
}

function mode(name) {
  document.querySelector(`input[name=mode][value=${name}]`).checked = true;
  compare();
}

function divide(by) {
  $("divider").value = Number($("divider").value) + by;
  slide();
}

const CLOSED = { j: () => step(document.activeElement.closest?.("article") ? 1 : 0), k: () => step(-1),
  "/": () => $("words").focus(), Enter: () => order.length && open(here, null) };
const OPEN = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), s: () => mode("slider"), d: () => mode("difference"),
  b: () => mode("beside"), "[": () => divide(-5), "]": () => divide(5) };

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input[type=search], select, input[type=range], input[type=radio]");
  if (typing && !(event.target.type === "range" && "[]".includes(event.key))) return;
  if (event.key === "Enter" && event.target.closest("button, summary")) return;
  const digit = /^[1-9]$/.test(event.key) && $("view").open ? sides[Number(event.key) - 1] : undefined;
  const act = digit ? () => { $("right").value = digit[0]; compare(); } : ($("view").open ? OPEN : CLOSED)[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

function drag(event) {
  if ($("stage").dataset.mode !== "slider" || (event.type === "pointermove" && !event.buttons)) return;
  const box = $("stage").getBoundingClientRect();
  $("divider").value = Math.round((100 * (event.clientX - box.left)) / box.width);
  slide();
}

for (const [id, name] of sides) for (const side of ["left", "right"]) $(side).append(element("option", { value: id }, name));
$("right").value = shown.length ? shown[shown.length - 1].id : "goal";
options();
for (const id of ["dataset", "family", "sort", "order"]) $(id).addEventListener("change", chosen);
$("words").addEventListener("input", chosen);
document.querySelector("form.bar").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["left", "right"]) $(id).addEventListener("change", compare);
for (const radio of document.querySelectorAll("input[name=mode]")) radio.addEventListener("change", compare);
for (const id of ["divider", "gain"]) $(id).addEventListener("input", slide);
for (const name of ["pointerdown", "pointermove"]) $("stage").addEventListener(name, drag);
$("stage").addEventListener("dragstart", (event) => event.preventDefault());
$("back").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("close").addEventListener("click", () => $("view").close());
// the event comes after the closing: whoever has gone on to the bar by then keeps the focus
$("view").addEventListener("close", () => {
  select(here, !document.activeElement.closest("form.bar"));
  if (history.state?.opened && location.hash.includes("example=")) history.back();
  else remember();
});
new IntersectionObserver((seen) => { if (seen.some((s) => s.isIntersecting) && made < order.length) grow(); }, { rootMargin: "1200px" }).observe($("more"));
arrange();
recall();
for (const name of ["hashchange", "popstate"]) addEventListener(name, recall);
