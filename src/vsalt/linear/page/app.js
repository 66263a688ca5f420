// The page: reads the controls, computes, draws.

const byId = (id) => document.getElementById(id);

function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

let state = presetState(PRESETS[0]);
let isWaiting = false;

function start() {
  checkTable();
  for (const [key, { low, high, step }] of Object.entries(SLIDERS)) {
    Object.assign(byId(key), { min: low, max: high, step });
    byId(key).addEventListener("input", () => change({ [key]: Number(byId(key).value) }));
    byId(key).addEventListener("change", writeAddress);
  }
  for (const input of document.querySelectorAll('input[name="set"]')) {
    input.addEventListener("change", () => {
      change({ set: input.value });
      writeAddress();
    });
  }
  byId("common").addEventListener("change", () => {
    change({ axis: byId("common").checked ? "common" : "own" });
    writeAddress();
  });
  drawPresets();
  window.addEventListener("hashchange", readAddress);
  new ResizeObserver(wait).observe(byId("panels"));
  readAddress();
  byId("lab").hidden = false;
  draw();
}

/** The numbers that Python wrote into the page against those of this browser. */
function checkTable() {
  const wrong = tableErrors(JSON.parse(byId("table").textContent));
  if (!wrong.length) return;
  byId("wrong").textContent =
    "This browser computes other numbers than the Python library; do not trust the curves below. " +
    `${wrong.slice(0, 3).join("; ")}.`;
  byId("wrong").hidden = false;
}

function readAddress() {
  // A place on the page, as of the link that skips to the controls, is no state.
  if (location.hash.length > 1 && !location.hash.includes("=")) return;
  const { state: read, problems } = parseHash(location.hash, presetState(PRESETS[0]));
  byId("address").hidden = !problems.length;
  const all = problems.join("; ");
  byId("address").textContent = `The address asks for what cannot be shown: ${all}.`;
  change(read);
}

function writeAddress() {
  history.replaceState(null, "", stateHash(state));
}

function change(part) {
  state = { ...state, ...part };
  for (const key of Object.keys(SLIDERS)) {
    byId(key).value = state[key];
    const text = valueText(key, state);
    byId(key).setAttribute("aria-valuetext", text);
    byId(`${key}-value`).textContent = text;
  }
  byId(`set-${state.set}`).checked = true;
  byId("common").checked = state.axis === "common";
  byId("pair").hidden = state.set !== "pair";
  wait();
}

/** Draw once per frame, however often the sliders move. */
function wait() {
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    draw();
  });
}

function draw() {
  const results = compute(state, true);
  byId("sentence").textContent = sentence(results);
  byId("gains").textContent = gainsSentence(results);
  byId("teacher").replaceChildren(...withSubscripts(teacherSentence(results)));
  drawStrip(results);
  drawPanels(results);
  drawTable(results);
  markPreset();
}

/** Text in which _A is a lowered A. */
function withSubscripts(text) {
  return text.split(/_(\w)/).map((piece, index) => (index % 2 ? make("sub", "", piece) : piece));
}

function looksOf({ state: { set }, features }) {
  if (set === "pair") {
    return features.map(({ name }) => ({ className: name === "A" ? "is-a" : "is-b", label: name }));
  }
  return features.map(({ name }, index) => ({
    className: "of-set",
    colour: `color-mix(in oklab, var(--clean) ${Math.round((100 * index) / 11)}%, var(--noisy))`,
    label: index % 11 ? "" : name,
    isSet: true,
  }));
}

function drawPanels(results) {
  const looks = looksOf(results);
  const common = timeWindow(METHODS.map((kind) => results.methods[kind]));
  for (const kind of METHODS) {
    const method = results.methods[kind];
    const place = byId(`panel-${kind}`);
    const range = state.axis === "common" ? common : timeWindow([method]);
    const size = { width: Math.max(240, place.clientWidth), height: 158 };
    const note = neverText(method, results.features);
    byId(`note-${kind}`).textContent = note;
    place.replaceChildren();
    if (!range) continue;
    const panel = drawPanel(method, looks, size, range);
    panel.setAttribute("aria-label", `${NAMES[kind]}: ${panelText(method, results)}. ${note}`);
    place.append(panel);
  }
}

function panelText(method, { state: { set }, features }) {
  if (set !== "pair") return orderPhrase(orderOf(method, features));
  return `A is learned at ${short(method.times[0])}, B at ${short(method.times[1])}`;
}

function neverText(method, features) {
  const never = features.filter((_, index) => method.times[index] === Infinity);
  if (!never.length) return "";
  const all = never.map((one) => one.name).join(", ");
  const names = never.length > 3 ? `${never.length} features` : all;
  return `Never learned: ${names} (started above the final gain).`;
}

/** Who is first, for every method, in one line that stays in sight on a phone. */
function drawStrip({ methods, features, state: { set } }) {
  byId("strip").replaceChildren(
    ...METHODS.map((kind) => {
      const method = methods[kind];
      const isPair = set === "pair";
      const rho = () => signed(orderOf(method, features).withRho);
      const first = isPair ? badge(whoIsFirst(method.times)) : rho();
      return make("li", "", make("b", "", NAMES[kind]), " ", first);
    }),
  );
  byId("strip-title").textContent = set === "pair" ? "First" : "Earliness against ρ";
}

/** A correlation; a dash where there is none. */
function signed(value) {
  if (!Number.isFinite(value)) return "–";
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
}

function badge({ first }) {
  const text = { A: "A", B: "B", both: "A = B", none: "–" }[first];
  return make("span", { A: "badge is-a", B: "badge is-b" }[first] || "badge", text);
}

function drawPresets() {
  PRESETS.forEach((preset, index) => {
    const { methods } = compute(presetState(preset), false);
    const firsts = make("span", "firsts");
    for (const kind of METHODS) {
      const first = badge(whoIsFirst(methods[kind].times));
      firsts.append(make("span", "", `${NAMES[kind]} `, first), " ");
    }
    const [name, text] = [make("strong", "", preset.name), make("span", "", preset.text)];
    const button = make("button", "preset", name, text, firsts);
    button.type = "button";
    button.id = `preset-${index}`;
    button.addEventListener("click", () => {
      change({ ...presetState(preset), axis: state.axis });
      writeAddress();
    });
    byId("presets").append(make("li", "", button));
  });
}

function markPreset() {
  PRESETS.forEach((preset, index) => {
    const wanted = stateHash({ ...presetState(preset), axis: state.axis });
    byId(`preset-${index}`).setAttribute("aria-pressed", String(wanted === stateHash(state)));
  });
}

function drawTable(results) {
  const { head, rows } = state.set === "pair" ? pairRows(results) : setRows(results);
  const cell = (text, index, name) => make(index ? name : "th", index ? "num" : "", text);
  const cells = (row, name) =>
    make("tr", "", ...row.map((text, index) => cell(text, index, name)));
  byId("numbers").replaceChildren(
    make("thead", "", cells(head, "th")),
    make("tbody", "", ...rows.map((row) => cells(row, "td"))),
  );
}

function pairRows({ methods }) {
  const head = ["", "A learned at", "B learned at", "time A / B", "final gain A", "of B"];
  const rows = METHODS.map((kind) => {
    const { times, finals } = methods[kind];
    const { ratio } = whoIsFirst(times);
    return [NAMES[kind], ...[...times, ratio, ...finals].map(short)];
  });
  return { head, rows };
}

function setRows({ methods, features }) {
  const head = ["", "learned", "first", "last", "last / first", "order by ρ", "order by λ"];
  const rows = METHODS.map((kind) => {
    const order = orderOf(methods[kind], features);
    const name = (index) => (index === undefined ? "–" : features[index].name);
    const names = [name(order.first), name(order.last)];
    const correlations = [order.withRho, order.withLambda].map(signed);
    return [NAMES[kind], `${order.learned} of 12`, ...names, short(order.spread), ...correlations];
  });
  return { head, rows };
}

start();
