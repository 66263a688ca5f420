// What the controls say: their ranges, the address of a state, ready-made states, features.

const FRACTION = 0.9;
const METHODS = ["mae", "jepa", "salt", "ema"];
const NAMES = { mae: "MAE", jepa: "JEPA", salt: "SALT", ema: "EMA" };
const CONVERGED = 105;

/** Sliders: lowest and highest position, step, and whether the value is 10^position. */
const SLIDERS = {
  la: { low: 0.05, high: 2, step: 0.05 },
  ra: { low: 0.05, high: 1, step: 0.05 },
  lb: { low: 0.05, high: 2, step: 0.05 },
  rb: { low: 0.05, high: 1, step: 0.05 },
  L: { low: 1, high: 8, step: 1 },
  eps: { low: -5, high: -1, step: 0.1, power: true },
  P: { low: 1, high: 4, step: 1 },
  LT: { low: 1, high: 8, step: 1 },
  stop: { low: 5, high: CONVERGED, step: 1 },
  T: { low: -2, high: 7, step: 0.1, power: true },
};
const SETS = ["pair", "equal", "independent", "inverse"];
const AXES = ["own", "common"];

const PRESETS = [
  {
    name: "JEPA flips it, a frozen teacher does not",
    text: "A weak and predictable, B twice as strong and noisy; 6 layers",
    values: { la: 0.5, ra: 0.9, lb: 1, rb: 0.45, L: 6, eps: -3 },
  },
  {
    name: "A frozen teacher flips it too",
    text: "A is now 0.8 as strong as B; 3 layers, ε = 0.01",
    values: { la: 0.8, ra: 0.9, lb: 1, rb: 0.45 },
  },
  {
    name: "Tiny start: the frozen teacher alone",
    text: "the second pair with ε = 10⁻⁴",
    values: { la: 0.8, ra: 0.9, lb: 1, rb: 0.45, eps: -4 },
  },
  {
    name: "A teacher stopped early does not",
    text: "the second pair, the teacher at 85 % of its training",
    values: { la: 0.8, ra: 0.9, lb: 1, rb: 0.45, stop: 85 },
  },
  {
    name: "A slow average does not",
    text: "the second pair, EMA with T = 10⁵",
    values: { la: 0.8, ra: 0.9, lb: 1, rb: 0.45, T: 5 },
  },
  {
    name: "Deep: noise is shut out",
    text: "the first pair with 8 layers, ε = 0.01; B starts above its end",
    values: { la: 0.5, ra: 0.9, lb: 1, rb: 0.45, L: 8 },
  },
];

/** A complete state; eps, T are positions (powers of ten) and stop is per cent, as on sliders. */
function presetState(preset) {
  const common = { eps: -2, L: 3, LT: 3, P: 1, stop: CONVERGED, T: 1 };
  return { set: "pair", axis: "own", ...common, ...preset.values };
}

/** The address of a state, as in `#set=pair&la=0.5&…&stop=converged`. */
function stateHash(state) {
  const parts = [`set=${state.set}`, `axis=${state.axis}`];
  for (const key of Object.keys(SLIDERS)) {
    const isEnd = key === "stop" && state.stop >= CONVERGED;
    const value = SLIDERS[key].power ? 10 ** state[key] : state[key];
    parts.push(`${key}=${isEnd ? "converged" : Number(value.toPrecision(6))}`);
  }
  return `#${parts.join("&")}`;
}

/** Read an address over a state; {state, problems}: what cannot be is named and left as it was. */
function parseHash(hash, base) {
  const state = { ...base };
  const problems = [];
  for (const part of hash.replace(/^#/, "").split("&").filter(Boolean)) {
    const [key, text = ""] = part.split("=");
    if (key === "set" && SETS.includes(text)) state.set = text;
    else if (key === "axis" && AXES.includes(text)) state.axis = text;
    else if (key === "stop" && text === "converged") state.stop = CONVERGED;
    else if (Object.hasOwn(SLIDERS, key) && text.trim() && inRange(key, position(key, text))) {
      state[key] = onStep(key, position(key, text));
    } else problems.push(`${part} (${expected(key)})`);
  }
  return { state, problems };
}

function position(key, text) {
  return SLIDERS[key].power ? Math.log10(Number(text)) : Number(text);
}

function inRange(key, value) {
  const { low, high, step } = SLIDERS[key];
  return value >= low - step / 4 && value <= high + step / 4;
}

function onStep(key, value) {
  const { low, step } = SLIDERS[key];
  return Number((low + Math.round((value - low) / step) * step).toFixed(6));
}

function expected(key) {
  if (key === "set") return `one of ${SETS.join(", ")}`;
  if (key === "axis") return `one of ${AXES.join(", ")}`;
  if (key === "stop") return "5 to 100 per cent, or converged";
  if (!Object.hasOwn(SLIDERS, key)) return "no control has this name";
  const { low, high, power } = SLIDERS[key];
  const [from, to] = [low, high].map((at) => (power ? Number((10 ** at).toPrecision(6)) : at));
  return `${from} to ${to}`;
}

// Twelve numbers without order, so that lambda and rho of the independent set do not go together.
const SHUFFLED = [6, 1, 9, 4, 11, 2, 7, 0, 10, 5, 3, 8];

/** The features of a state: [{name, lambda, rho}]. */
function featuresOf(state) {
  if (state.set === "pair") {
    return [
      { name: "A", lambda: state.la, rho: state.ra },
      { name: "B", lambda: state.lb, rho: state.rb },
    ];
  }
  return SHUFFLED.map((place, index) => {
    const rho = 0.35 + (0.6 * index) / 11;
    const lambda = { equal: 1, inverse: 1 / rho, independent: 2 ** (place / 11 - 1) }[state.set];
    return { name: `ρ ${rho.toFixed(2)}`, lambda, rho };
  });
}
