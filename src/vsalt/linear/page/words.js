// What is seen, in words.

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** A number with three digits, as 0.045, 12.3 or 2.31·10⁴. */
function short(value) {
  if (value === Infinity) return "never";
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const power = Math.floor(Math.log10(Math.abs(value) * (1 + 1e-12)));
  if (power >= -3 && power < 4) return String(Number(value.toPrecision(3)));
  return `${Number((value / 10 ** power).toPrecision(3))}·${powerOfTen(power)}`;
}

function powerOfTen(power) {
  const digits = String(Math.abs(power)).replace(/\d/g, (digit) => SUPERSCRIPTS[digit]);
  return `10${power < 0 ? "⁻" : ""}${digits}`;
}

/** 10^position, with as many digits as it takes. */
function tenTo(at) {
  return Number.isInteger(at) && (at < -2 || at > 3) ? powerOfTen(at) : short(10 ** at);
}

/** What a slider's position means. */
function valueText(key, state) {
  const value = state[key];
  if (SLIDERS[key].power) return tenTo(value);
  if (key === "stop") return value >= CONVERGED ? "converged" : `${value} %`;
  return SLIDERS[key].step < 1 ? value.toFixed(2) : String(value);
}

/** A's and B's part in the pair: {a, b, conflict, clean, strong}. */
function rolesOf([a, b]) {
  const strong = a.lambda === b.lambda ? null : a.lambda > b.lambda ? "A" : "B";
  const clean = a.rho === b.rho ? null : a.rho > b.rho ? "A" : "B";
  const conflict = strong !== null && clean !== null && strong !== clean;
  const role = (name) => {
    const parts = [];
    if (strong === name) parts.push("stronger");
    if (clean === name) parts.push("more predictable");
    return parts.length ? `, the ${parts.join(" and ")} one,` : "";
  };
  return { a: role("A"), b: role("B"), conflict, clean, strong };
}

/** The sentence on a pair or on a set. */
function sentence(results) {
  return results.state.set === "pair" ? pairSentence(results) : setSentence(results);
}

function pairSentence({ state, features, methods, teacher }) {
  const roles = rolesOf(features);
  const who = (kind) => whoIsFirst(methods[kind].times);
  const says = (kind) => `learns ${learnedFirst(who(kind), roles)}`;
  const parts = [];
  if (says("mae") === says("jepa")) {
    parts.push(`MAE and JEPA ${says("mae").replace("learns", "both learn")}`);
  } else {
    parts.push(`MAE ${says("mae")}`, `JEPA ${says("jepa")}`);
  }
  const kind = teacher.converged ? "frozen converged" : "frozen early-stopped";
  parts.push(`${flips(who, roles, kind)}SALT ${says("salt")}`);
  if (says("ema") !== says("jepa")) {
    parts.push(`a moving average with T = ${tenTo(state.T)} ${says("ema")}`);
  }
  return `${parts.join("; ")}.`.replace(/,([;:.])/g, "$1");
}

/** Whether a frozen teacher turns the order of MAE around; nothing where that is no question. */
function flips(who, roles, kind) {
  const salt = who("salt").first;
  if (!roles.conflict || who("mae").first !== roles.strong || salt === "none") {
    return `with a ${kind} teacher `;
  }
  if (salt === roles.strong) return `a ${kind} teacher does not flip this pair: `;
  if (salt === "both") return `a ${kind} teacher makes this pair a draw: `;
  const also = who("jepa").first === roles.clean ? " as well" : "";
  return `a ${kind} teacher flips this pair${also}: `;
}

function learnedFirst(who, roles) {
  if (who.first === "none") return "neither";
  if (who.first === "both") return "A and B at nearly the same time";
  const role = who.first === "A" ? roles.a : roles.b;
  if (who.alone) return `only ${who.first}${role}`;
  return `${who.first}${role} first`;
}

const SET_NAMES = {
  equal: "Twelve features of equal λ",
  independent: "Twelve features whose λ and ρ have nothing to do with each other",
  inverse: "Twelve features, the more predictable the weaker (λ = 1/ρ)",
};

function setSentence({ state, features, methods }) {
  const says = (kind) => orderPhrase(orderOf(methods[kind], features));
  const parts = ["mae", "jepa", "salt"].map((kind) => `${NAMES[kind]} ${says(kind)}`);
  if (says("ema") !== says("jepa")) {
    parts.push(`a moving average with T = ${tenTo(state.T)} ${says("ema")}`);
  }
  return `${SET_NAMES[state.set]}: ${parts.join("; ")}.`;
}

function orderPhrase(order) {
  if (order.learned === 0) return "learns none of them";
  if (order.learned === 1) return "learns one of them";
  const some = order.learned < 12 ? `learns ${order.learned} of 12 and ` : "";
  if (order.spread < 1.1) {
    const percent = Math.ceil(100 * (order.spread - 1));
    return `${some ? `${some}those` : "learns all"} within ${percent} % of the same time`;
  }
  const [rho, lambda] = [order.withRho, order.withLambda];
  if (rho > 0.8) return `${some}goes by predictability`;
  if (lambda > 0.8) return `${some}goes by strength`;
  if (rho < -0.8) return `${some}takes the least predictable first`;
  if (rho > 0.5) return `${some}leans towards predictability`;
  if (lambda > 0.5) return `${some}leans towards strength`;
  return `${some}goes neither by λ nor by ρ alone`;
}

/** The second line: what remains in the end. */
function gainsSentence({ state, features, methods }) {
  const ratios = { mae: 0, jepa: 0, salt: 0 };
  let [high, low, names] = [0, 1, "the final gains of A and B"];
  if (state.set !== "pair") {
    [high, low, names] = [11, 0, "the final gains of the most and the least predictable"];
  } else if (features[0].rho < features[1].rho) {
    [high, low, names] = [1, 0, "the final gains of B and A"];
  }
  for (const kind of Object.keys(ratios)) {
    const { finals } = methods[kind];
    ratios[kind] = short(finals[high] / finals[low]);
  }
  return (
    `In the end, ${names} are as ${ratios.mae} : 1 for MAE, ${ratios.salt} : 1 for SALT and ` +
    `${ratios.jepa} : 1 for JEPA.`
  );
}

/** One line on the teacher. */
function teacherSentence({ state, features, teacher, network }) {
  const L = state.LT;
  const exponent = L / (L + network.predictorDepth);
  const whole = teacher.whole
    ? `has learned its last feature by t = ${short(teacher.whole)}`
    : "learns nothing";
  const stop = teacher.converged
    ? "trained to the end"
    : `stopped at t = ${short(teacher.stopped)}`;
  const head = `The teacher, an MAE of depth ${L}, ${whole} and is ${stop}.`;
  if (state.set !== "pair") return head;
  const [a, b] = teacher.gains.map(short);
  const gains = `It hands on A with gain ${a} and B with ${b}.`;
  const roles = rolesOf(features);
  if (!teacher.converged || !roles.conflict) return `${head} ${gains}`;
  const [clean, strong] = roles.clean === "A" ? features : [features[1], features[0]];
  const [c, s] = [clean.name, strong.name];
  const ratio = clean.lambda / strong.lambda;
  const bound = (strong.rho / clean.rho) ** exponent;
  const sign = ratio > bound ? ">" : "<";
  return (
    `${head} ${gains} From tiny starts it flips a pair if λ_${c}/λ_${s} > (ρ_${s}/ρ_${c}) to the ` +
    `power L_T/(L_T+P) = ${short(exponent)}; here ${short(ratio)} ${sign} ${short(bound)}.`
  );
}
