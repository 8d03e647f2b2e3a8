// The curves of learning: the loss above, the agreement on strokes that were put aside below; both against steps.

const LEFT = 42, RIGHT = 50, TOP = 14, GAP = 30, BOTTOM = 20;

/** Draw [[step, loss], ...] and [[step, share 0..1], ...] on a canvas, in the colours of the style sheet. */
export function drawChart(canvas, loss, agreement) {
  const ratio = devicePixelRatio;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name);
  context.font = `11px ${style.fontFamily}`;

  const steps = [...loss, ...agreement].map(([step]) => step);
  const first = Math.min(...steps, Infinity), last = Math.max(...steps, -Infinity);
  const plotHeight = (height - TOP - GAP - BOTTOM) / 2;
  const x = (step) => LEFT + ((step - first) / Math.max(last - first, 1)) * (width - LEFT - RIGHT);

  // The loss falls by powers of ten: a logarithmic axis, from one power to another.
  const powers = loss.map(([, value]) => Math.log10(Math.max(value, 1e-6)));
  const [low, high] = loss.length ? [Math.floor(Math.min(...powers)), Math.ceil(Math.max(...powers) + 1e-9)] : [-2, 0];
  const ticks = [low, high].map((power) => [power, power < -2 ? `10${raised(power)}` : String(10 ** power)]);
  plot(loss.map(([step], i) => [step, powers[i]]), TOP, ticks, "loss", "--loss", (power) => shortened(10 ** power));

  const least = Math.min(...agreement.map(([, share]) => share)) < 0.5 ? 0 : 0.5;
  const percent = (share) => `${Math.round(100 * share)} %`;
  plot(agreement, TOP + plotHeight + GAP, [[least, percent(least)], [1, percent(1)]], "agreement on strokes put aside",
    "--agreement", percent);

  context.fillStyle = colour("--quiet");
  context.textAlign = "left";
  if (steps.length) {
    context.fillText(String(first), LEFT, height - 5);
    context.textAlign = "right";
    context.fillText(last.toLocaleString("en"), width - RIGHT, height - 5);
  }
  context.textAlign = "center";
  context.fillText("step", (LEFT + width - RIGHT) / 2, height - 5);

  function plot(points, y0, [bottom, top], name, line, text) {
    const y = (value) => y0 + (plotHeight * (top[0] - value)) / (top[0] - bottom[0]);
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const [value, label] of [bottom, top]) {
      context.strokeStyle = colour("--line");
      context.beginPath();
      context.moveTo(LEFT, Math.round(y(value)) + 0.5);
      context.lineTo(width - RIGHT, Math.round(y(value)) + 0.5);
      context.stroke();
      context.fillStyle = colour("--quiet");
      context.fillText(label, LEFT - 6, y(value));
    }
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    context.fillText(name, LEFT, y0 - 5);
    if (!points.length && loss.length) {
      context.fillStyle = colour("--quiet");
      context.fillText("from the fifth stroke of a class on", LEFT + 8, y0 + plotHeight / 2 + 4);
    }
    if (!points.length) return;
    context.strokeStyle = context.fillStyle = colour(line);
    context.lineWidth = 1.75;
    context.lineJoin = "round";
    context.beginPath();
    for (const [step, value] of points) context.lineTo(x(step), y(value));
    context.stroke();
    const [step, value] = points.at(-1);
    context.beginPath();
    context.arc(x(step), y(value), 2.5, 0, 7);
    context.fill();
    context.font = `600 11px ${style.fontFamily}`;
    context.textBaseline = "middle";
    context.fillText(text(value), width - RIGHT + 6, y(value));
    context.textBaseline = "alphabetic";
    context.font = `11px ${style.fontFamily}`;
  }
}

/** A number with two significant digits, one below 0.01. */
const shortened = (value) => (value < 0.001 ? value.toExponential(0).replace("-", "−")
  : value < 0.01 ? value.toFixed(4) : value.toPrecision(2));

/** A negative whole number as an exponent. */
const raised = (power) => `⁻${"⁰¹²³⁴⁵⁶⁷⁸⁹"[-power]}`;
