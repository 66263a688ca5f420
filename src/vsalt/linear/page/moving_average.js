// EMA: the target is a moving average of the encoder's layers, which has no exact time.
//
// y = ln u of the encoder's layers and s = ln xi of the average follow
//
//     dy/dt = u^(K-2) (lambda xi^L - sigma² u^K)      ds/dt = (u / xi - 1) / T      K = L + P.
//
// A short T makes this stiff: a Runge-Kutta method would need steps of about T all along the
// plateau. RODAS3, an L-stable Rosenbrock method of order 3 (Sandu et al., 1997), does not.

const EMA_TOLERANCE = 1e-8;
const EMA_MOST_STEPS = 200000;

/** The gain over time until it is within 1e-4 of the final one: {times, gains, learned}. */
function averageCurve(feature, network, time, fraction) {
  const method = { kind: "ema" };
  const L = network.depth;
  const final = finalGain(feature, network, method);
  const curve = { times: [0], gains: [network.eps], learned: Infinity };
  if (final <= network.eps) return curve;
  const field = averageField(feature, network, time);
  const mark = Math.log(learnedGain(feature, network, method, fraction)) / L;
  const end = Math.log(network.eps + (1 - 1e-4) * (final - network.eps)) / L;
  let state = [Math.log(network.eps) / L, Math.log(network.eps) / L];
  let t = 0;
  let h = 1e-3 / Math.abs(field.slope(...state)[0]);
  for (let step = 0; step < EMA_MOST_STEPS && state[0] < end; step++) {
    const tried = rosenbrockStep(field, state, h);
    const scale = Math.min(5, Math.max(0.2, 0.9 * (EMA_TOLERANCE / tried.error) ** (1 / 3)));
    if (tried.error <= EMA_TOLERANCE) {
      if (state[0] < mark && tried.state[0] >= mark) {
        curve.learned = t + stepTo(field, state, h, mark);
      }
      t += h;
      state = tried.state;
      curve.times.push(t);
      curve.gains.push(Math.exp(L * state[0]));
    }
    h *= Number.isFinite(scale) ? scale : 0.2;
  }
  return curve;
}

/** The slope of (y, s) and its derivatives [[yy, ys], [sy, ss]], row by row. */
function averageField({ lambda, rho }, { depth: L, predictorDepth: P }, time) {
  const K = L + P;
  const variance = lambda / rho;
  return {
    slope: (y, s) => [
      Math.exp((K - 2) * y) * (lambda * Math.exp(L * s) - variance * Math.exp(K * y)),
      Math.expm1(y - s) / time,
    ],
    derivative: (y, s) => {
      const pull = lambda * Math.exp((K - 2) * y + L * s);
      const brake = variance * Math.exp((2 * K - 2) * y);
      const follow = Math.exp(y - s) / time;
      return [(K - 2) * pull - (2 * K - 2) * brake, L * pull, follow, -follow];
    },
  };
}

/** One step of RODAS3 (gamma = 1/2); error: the larger of the differences to order 2. */
function rosenbrockStep(field, [y, s], h) {
  const [yy, ys, sy, ss] = field.derivative(y, s);
  const [p, q, r, e] = [2 / h - yy, -ys, -sy, 2 / h - ss];
  const determinant = p * e - q * r;
  const solve = (a, b) => [(e * a - q * b) / determinant, (p * b - r * a) / determinant];
  const [fy, fs] = field.slope(y, s);
  const [y1, s1] = solve(fy, fs);
  const [y2, s2] = solve(fy + (4 * y1) / h, fs + (4 * s1) / h);
  const [gy, gs] = field.slope(y + 2 * y1, s + 2 * s1);
  const [y3, s3] = solve(gy + (y1 - y2) / h, gs + (s1 - s2) / h);
  const [yEnd, sEnd] = [y + 2 * y1 + y3, s + 2 * s1 + s3];
  const [hy, hs] = field.slope(yEnd, sEnd);
  const [y4, s4] = solve(
    hy + (y1 - y2 - (8 / 3) * y3) / h,
    hs + (s1 - s2 - (8 / 3) * s3) / h,
  );
  return { state: [yEnd + y4, sEnd + s4], error: Math.max(Math.abs(y4), Math.abs(s4)) };
}

/** The part of a step after which y is at the mark, by bisection. */
function stepTo(field, state, h, mark) {
  let low = 0;
  let high = h;
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2;
    if (rosenbrockStep(field, state, middle).state[0] < mark) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
