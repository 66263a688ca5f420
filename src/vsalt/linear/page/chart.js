// One panel: gains over the logarithm of time, drawn as SVG in the pixels that it gets.

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** [from, to]: a time axis that shows how all features of these methods are learned.
 *
 * About a quarter of it at either end has no mark, so that labels have room.
 */
function timeWindow(methods) {
  const times = methods.flatMap((method) => method.times).filter(Number.isFinite);
  if (!times.length) return null;
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const span = Math.log(last / first);
  const before = Math.max(Math.log(30), 0.53 * span);
  return [first * Math.exp(-before), last * Math.exp(0.39 * (before + span))];
}

/** Ticks of a logarithmic axis: powers of ten, with 2 and 5 where there are few. */
function timeTicks([from, to]) {
  const decades = Math.log10(to / from);
  const steps = decades < 1.6 ? [1, 2, 5] : decades < 2.6 ? [1, 3] : [1];
  const every = Math.ceil(decades / 7);
  const ticks = [];
  for (let power = Math.floor(Math.log10(from)); power <= Math.log10(to); power++) {
    if (power % every) continue;
    for (const step of steps) ticks.push(step * 10 ** power);
  }
  return ticks.filter((tick) => tick >= from && tick <= to);
}

/** The panel of a method. looks: per feature {className, label, colour, isSet}. */
function drawPanel(method, looks, size, range) {
  const box = { left: 34, right: size.width - 8, top: 20, bottom: size.height - 22 };
  const x = (t) => {
    const share = Math.log(t / range[0]) / Math.log(range[1] / range[0]);
    return box.left + Math.min(1, Math.max(0, share)) * (box.right - box.left);
  };
  const y = (share) => box.bottom - share * (box.bottom - box.top);
  const root = svg("svg", { viewBox: `0 0 ${size.width} ${size.height}`, role: "img" });
  drawAxes(root, box, x, y, range);
  method.curves.forEach((curve, index) => {
    if (curve) root.append(drawCurve(curve, looks[index], x, y, range));
  });
  drawMarks(root, method, looks, box, x);
  return root;
}

function drawAxes(root, box, x, y, range) {
  for (const share of [0, 0.5, 1]) {
    root.append(
      svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y(share), y2: y(share) }),
      svg("text", { x: box.left - 6, y: y(share) + 4, "text-anchor": "end" }, String(share)),
    );
  }
  root.append(svg("line", { class: "axis", x1: box.left, x2: box.right, y1: y(0), y2: y(0) }));
  for (const tick of timeTicks(range)) {
    const at = x(tick);
    root.append(svg("line", { class: "axis", x1: at, x2: at, y1: y(0), y2: y(0) + 4 }));
    if (at > box.left + 4 && at < box.right - 22) {
      root.append(
        svg("text", { x: at, y: box.bottom + 17, "text-anchor": "middle" }, tickText(tick)),
      );
    }
  }
  root.append(
    svg("text", { class: "unit", x: box.right, y: box.bottom + 17, "text-anchor": "end" }, "t"),
  );
}

function tickText(tick) {
  const power = Math.round(Math.log10(tick));
  const isPower = Math.abs(tick / 10 ** power - 1) < 1e-9;
  return isPower && Math.abs(power) > 2 ? powerOfTen(power) : short(tick);
}

function drawCurve(curve, look, x, y, range) {
  const shown = curve.filter(([t]) => t >= range[0] && t <= range[1]);
  const before = curve.filter(([t]) => t < range[0]).pop() || curve[0];
  const after = curve.find(([t]) => t > range[1]) || curve[curve.length - 1];
  const points = [[range[0], before[1]], ...shown, [range[1], after[1]]];
  const line = svg("polyline", {
    class: `curve ${look.className}`,
    points: points.map(([t, share]) => `${x(t).toFixed(1)},${y(share).toFixed(1)}`).join(" "),
  });
  if (look.colour) line.style.stroke = look.colour;
  return line;
}

/** Where each feature is learned: a line down from the top; two labels beside the outermost. */
function drawMarks(root, method, looks, box, x) {
  const learned = method.times.map((time, index) => ({ time, index }));
  const shown = learned.filter(({ time, index }) => Number.isFinite(time) && looks[index].label);
  shown.sort((one, other) => one.time - other.time);
  learned.forEach(({ time, index }) => {
    if (!Number.isFinite(time)) return;
    const low = looks[index].isSet ? box.top + 6 : box.bottom;
    const mark = svg("line", {
      class: `mark ${looks[index].className}`,
      x1: x(time),
      x2: x(time),
      y1: box.top - 4,
      y2: low,
    });
    if (looks[index].colour) mark.style.stroke = looks[index].colour;
    root.append(mark);
  });
  shown.forEach(({ time, index }, place) => {
    const isLeft = place === 0;
    const label = svg(
      "text",
      {
        class: `label ${looks[index].className}`,
        x: x(time) + (isLeft ? -5 : 5),
        y: box.top - 6,
        "text-anchor": isLeft ? "end" : "start",
      },
      looks[index].isSet ? looks[index].label : `${looks[index].label} ${short(time)}`,
    );
    if (looks[index].colour) label.style.fill = looks[index].colour;
    root.append(label);
  });
}
