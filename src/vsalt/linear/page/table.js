// The table that Python computed when it wrote the page, against this browser's own numbers.

/** What is further off than the row allows: a list of texts, empty if all is well. */
function tableErrors(rows) {
  return rows.flatMap((row) => {
    const { feature, network, method } = row;
    const found = foundIn(row, feature, network, method);
    return Object.keys(found)
      .filter((name) => !(relativeError(found[name], row[name]) <= row.allowed))
      .map((name) => {
        const { depth, predictorDepth } = network;
        const where = `${method.kind}, L = ${depth}, P = ${predictorDepth}, ρ = ${feature.rho}`;
        return `${where}: ${name} is ${found[name]}, not ${row[name]}`;
      });
  });
}

function foundIn(row, feature, network, method) {
  if (method.kind === "teacher") return { gain: teacherGain(feature, network, row.stop) };
  if (method.kind === "ema") {
    return { time: averageCurve(feature, network, row.average, row.fraction).learned };
  }
  return {
    final: finalGain(feature, network, method),
    time: criticalTime(feature, network, method, row.fraction),
  };
}

/** |found / expected - 1|; null stands for infinity, as JSON has none. */
function relativeError(found, expected) {
  if (expected === null) return found === Infinity ? 0 : Infinity;
  return Math.abs(found / expected - 1);
}
