// Final gains and exact times, by the formulas of vsalt.linear.closed_form and vsalt.linear.frozen.
//
// feature: {lambda, rho}; network: {depth, predictorDepth, eps}, with the layers starting alike at
// eps^(1/depth) and learning alike; method: {kind: "mae" | "jepa" | "salt" | "ema", gain}, where
// gain is the frozen teacher's t of this feature. Time is that of vsalt.linear.dynamics.

/** psi(x), the logarithmic derivative of the gamma function, for x > 0. */
function digamma(x) {
  let shift = 0;
  while (x < 12) {
    shift -= 1 / x;
    x += 1;
  }
  const inverse = 1 / (x * x);
  const bernoulli = [1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12];
  let tail = 0;
  for (const coefficient of bernoulli.reverse()) tail = (tail + coefficient) * inverse;
  return shift + Math.log(x) - 0.5 / x - tail;
}

/** 2F1(1, s; s + 1; z) for 0 < s <= 1 and z = q^order, by its series at 0 or the one at 1. */
function hypergeometric(s, q, order) {
  const z = q ** order;
  let total = 0;
  if (z < 0.5) {
    for (let n = 0, power = 1; n < 60; n++, power *= z) total += (power * s) / (s + n);
    return total;
  }
  // Near z = 1 the sum grows like -s ln(1 - z); `expm1` keeps the digits of 1 - z.
  const w = -Math.expm1(order * Math.log(q));
  const log = Math.log(w);
  let difference = digamma(s) - digamma(1);
  for (let n = 0, factor = 1; n < 60; n++) {
    total -= s * factor * (log + difference);
    difference += 1 / (s + n) - 1 / (n + 1);
    factor *= ((s + n) / (n + 1)) * w;
  }
  return total;
}

/** An antiderivative of q^(-power) / (1 - q^order) for 0 < q < 1. */
function powerIntegral(q, power, order) {
  const terms = Math.ceil(power / order);
  let total = 0;
  for (let j = 0; j < terms; j++) {
    const exponent = j * order - power + 1;
    total += exponent === 0 ? Math.log(q) : q ** exponent / exponent;
  }
  const rest = terms * order - power + 1;
  if (order === 1) return total - Math.log1p(-q);
  return total + (q ** rest / rest) * hypergeometric(rest / order, q, order);
}

/** m* after infinite time: MAE rho^(L/(L+P)), SALT (t rho)^(L/(L+P)), JEPA and EMA rho^(L/P). */
function finalGain(feature, network, method) {
  const L = network.depth;
  const P = network.predictorDepth;
  if (method.kind === "jepa" || method.kind === "ema") return feature.rho ** (L / P);
  return (targetGain(method) * feature.rho) ** (L / (L + P));
}

function targetGain(method) {
  return method.kind === "salt" ? method.gain : 1;
}

/** The gain at which a feature counts as learned: this share of the way from eps to m*. */
function learnedGain(feature, network, method, fraction) {
  return network.eps + fraction * (finalGain(feature, network, method) - network.eps);
}

/** When MAE, JEPA or SALT has brought the gain to a value; Infinity where it never does. */
function timeToGain(feature, network, method, gain) {
  const L = network.depth;
  const P = network.predictorDepth;
  const moving = method.kind === "jepa";
  const order = moving ? P : L + P;
  const power = moving ? 2 * L + P - 1 : L + P - 1;
  const target = moving ? 1 : targetGain(method);
  const final = (target * feature.rho) ** (1 / order);
  const start = network.eps ** (1 / L);
  const end = gain ** (1 / L);
  if (final <= start) return Infinity;
  if (end <= start) return 0;
  if (end >= final) return Infinity;
  const span =
    powerIntegral(end / final, power, order) - powerIntegral(start / final, power, order);
  return span / (target * feature.lambda * final ** (power - 1));
}

/** When a feature is learned by MAE, JEPA or SALT. */
function criticalTime(feature, network, method, fraction) {
  return timeToGain(feature, network, method, learnedGain(feature, network, method, fraction));
}

/** t of a feature: the gain of an MAE teacher that was stopped at a time; Infinity: converged. */
function teacherGain(feature, teacher, time) {
  const mae = { kind: "mae" };
  const final = finalGain(feature, teacher, mae);
  if (time === Infinity || final <= teacher.eps) return final;
  let low = teacher.eps;
  let high = final;
  for (let i = 0; i < 120; i++) {
    const middle = Math.sqrt(low * high);
    if (timeToGain(feature, teacher, mae, middle) <= time) low = middle;
    else high = middle;
  }
  return Math.sqrt(low * high);
}

/** When the teacher has learned the last of the features that it learns at all; 0: none of them. */
function teacherTime(features, teacher, fraction) {
  const times = features.map((one) => criticalTime(one, teacher, { kind: "mae" }, fraction));
  return Math.max(0, ...times.filter(Number.isFinite));
}

/** Spearman's correlation of being learned early with a value; NaN where one is constant. */
function earlinessCorrelation(times, values) {
  const x = ranks(times.map((time) => -time));
  const y = ranks(values);
  const mean = (times.length + 1) / 2;
  let xy = 0;
  let xx = 0;
  let yy = 0;
  for (let i = 0; i < x.length; i++) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) ** 2;
    yy += (y[i] - mean) ** 2;
  }
  return xy / Math.sqrt(xx * yy);
}

/** Ranks from 1; equal values share the mean of their ranks. */
function ranks(values) {
  return values.map((value) => {
    const below = values.filter((other) => other < value).length;
    const equal = values.filter((other) => other === value).length;
    return below + (equal + 1) / 2;
  });
}
