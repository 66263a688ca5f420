// All that the page shows of a state, computed.

/** Results of a state: {features, network, teacher, methods: {mae, jepa, salt, ema}}. */
function compute(state, withCurves) {
  const features = featuresOf(state);
  const network = { depth: state.L, predictorDepth: state.P, eps: 10 ** state.eps };
  const teacher = teacherOf(state, features, network);
  const methods = {};
  for (const kind of METHODS) {
    const of = (index) => ({ kind, gain: teacher.gains[index] });
    const parts = features.map((feature, index) =>
      kind === "ema"
        ? averageResult(feature, network, 10 ** state.T, withCurves)
        : exactResult(feature, network, of(index), withCurves),
    );
    methods[kind] = {
      kind,
      times: parts.map((part) => part.time),
      finals: parts.map((part) => part.final),
      curves: parts.map((part) => part.curve),
    };
  }
  return { state, features, network, teacher, methods };
}

/** {depth, converged, whole, stopped, gains}: times of the whole and of the stopped training. */
function teacherOf(state, features, network) {
  const teacher = { ...network, depth: state.LT };
  const converged = state.stop >= CONVERGED;
  const whole = teacherTime(features, teacher, FRACTION);
  const stopped = converged ? Infinity : (whole * state.stop) / 100;
  const gains = features.map((feature) => teacherGain(feature, teacher, stopped));
  return { depth: state.LT, converged, whole, stopped, gains };
}

function exactResult(feature, network, method, withCurve) {
  return {
    time: criticalTime(feature, network, method, FRACTION),
    final: finalGain(feature, network, method),
    curve: withCurve ? exactCurve(feature, network, method) : null,
  };
}

// Shares of the way to the end: dense at both ends, where the time's logarithm runs fast.
const SHARES = [];
for (let power = -6; power < -0.35; power += 0.1) SHARES.push(10 ** power);
for (let power = -0.3; power > -5; power -= 0.1) SHARES.push(1 - 10 ** power);

/** m / m* over time: [[t, share], ...]; null where the feature starts above its final gain. */
function exactCurve(feature, network, method) {
  const final = finalGain(feature, network, method);
  if (final <= network.eps) return null;
  return SHARES.map((share) => {
    const gain = network.eps + share * (final - network.eps);
    return [timeToGain(feature, network, method, gain), gain / final];
  }).filter(([time]) => time > 0 && Number.isFinite(time));
}

function averageResult(feature, network, time, withCurve) {
  const final = finalGain(feature, network, { kind: "ema" });
  const { times, gains, learned } = averageCurve(feature, network, time, FRACTION);
  const points = withCurve ? thinned(times.map((t, index) => [t, gains[index] / final])) : [];
  return { time: learned, final, curve: points.length ? points : null };
}

/** The points after the first that can be told apart on a screen. */
function thinned(points) {
  const kept = [];
  let [lastTime, lastShare] = [0, 0];
  points.slice(1).forEach(([time, share], index) => {
    const isLast = index === points.length - 2;
    if (!isLast && time < 1.01 * lastTime && share < lastShare + 0.003) return;
    kept.push([time, share]);
    [lastTime, lastShare] = [time, share];
  });
  return kept;
}

/** Who of two is first: {first: "A" | "B" | "both" | "none", alone, ratio: t_A / t_B or NaN}. */
function whoIsFirst([a, b]) {
  if (a === Infinity && b === Infinity) return { first: "none", alone: false, ratio: NaN };
  if (a === Infinity || b === Infinity) {
    return { first: a === Infinity ? "B" : "A", alone: true, ratio: NaN };
  }
  const near = Math.abs(Math.log(a / b)) < Math.log(1.02);
  return { first: near ? "both" : a < b ? "A" : "B", alone: false, ratio: a / b };
}

/** Of a set: {learned, first, last, spread, withRho, withLambda}; indices, last over first. */
function orderOf(result, features) {
  const known = result.times.map((_, index) => index);
  const learned = known.filter((index) => Number.isFinite(result.times[index]));
  learned.sort((i, j) => result.times[i] - result.times[j]);
  const [first, last] = [learned[0], learned[learned.length - 1]];
  return {
    learned: learned.length,
    first,
    last,
    spread: result.times[last] / result.times[first],
    withRho: earlinessCorrelation(result.times, features.map((feature) => feature.rho)),
    withLambda: earlinessCorrelation(result.times, features.map((feature) => feature.lambda)),
  };
}
