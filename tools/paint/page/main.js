// The page: what the server says is shown, what a person does is sent.

import { drawChart } from "./chart.js";
import { listen } from "./input.js";
import { connect } from "./server.js";
import { makeView } from "./view.js";

const $ = (id) => document.getElementById(id);
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const icon = (name) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
};
const css = (colour) => `rgb(${colour})`;
const phone = matchMedia("(max-width: 760px)");         // as in paint.css
const announce = (text) => { $("announce").textContent = text; };

// Eight colours that also colour-blind people tell apart (Okabe and Ito, 2008), black replaced by grey.
const COLOURS = [[86, 180, 233], [230, 159, 0], [0, 158, 115], [204, 121, 167], [240, 228, 66], [0, 114, 178],
  [213, 94, 0], [160, 160, 160]];
const MODELS = {
  fcn: ["FCN", "The small network: fast, sees little of what is around"],
  unet: ["U-Net", "The larger network: slower, sees further"],
  forest: ["Forest", "A random forest on image features: the first seconds' learner"],
};
const LAYERS = [                        // name, key, what it is called, opacity, shown at first
  ["strokes", "s", "Strokes", 0.95, true],
  ["prediction", "p", "Prediction", 0.25, true],
  ["outlines", "o", "Outlines", 0.9, true],
  ["uncertainty", "u", "Uncertainty", 0.8, false],
  ["windows", "w", "Windows, halos", 0.9, false],
];
const TOOL_KEYS = { b: "brush", e: "erase", f: "fill", i: "inspect", h: "hand" };
const LONGEST = 10000;                  // points of one stroke; a longer one is sent in parts

// What the canvas shows: see view.js.
const scene = {
  state: null, image: null, palette: "", layers: {}, strokes: [], windows: { windows: [], cores: [] }, seen: null,
  cursor: { at: null, keyboard: false, down: false }, tool: "brush", brush: 12, offline: false,
};
let kind = 0;                           // the class to paint, an index
let current = null;                     // the stroke that is being painted

const view = makeView($("view"), scene, moved);
const server = connect({ onState: show, onQueue: showSaved, onRefused: toast });
listen($("view"), view, scene, { begin, extend, end, cancel, press, cursor });

// --- painting -----------------------------------------------------------------------------------------------------

// The smallest brush paints single pixels: from middle to middle.
const rounded = (point) => point.map(
  (value) => (scene.brush === 1 ? Math.floor(value) + 0.5 : Math.round(value * 100) / 100));

function begin(x, y) {
  if (!scene.image) return;
  current = { image: scene.image.name, tool: scene.tool, kind, width: scene.brush, points: [rounded([x, y])] };
  scene.strokes.push(current);
  scene.cursor.down = true;
  view.redraw();
}

function extend(points) {
  if (!current) return;
  const least = Math.min(1 / view.scale, 1) / 2;        // half a pixel of the screen or of the image
  for (const point of points.map(rounded)) {
    const [x, y] = current.points.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) >= least) current.points.push(point);
  }
  if (current.points.length >= LONGEST) {
    const last = current.points.at(-1);
    end();
    begin(...last);
  }
  view.redraw();
}

function end() {
  if (!current) return;
  const stroke = current;
  current = null;
  scene.cursor.down = false;
  const reach = stroke.width / 2;
  const { width, height } = scene.image;
  const touches = stroke.points.some(([x, y]) => x > -reach && y > -reach && x < width + reach && y < height + reach);
  if (touches) save(stroke);
  else scene.strokes = scene.strokes.filter((each) => each !== stroke);
  view.redraw();
}

function cancel() {
  scene.strokes = scene.strokes.filter((stroke) => stroke !== current);
  current = null;
  scene.cursor.down = false;
  view.redraw();
}

/** Send a stroke. It is drawn by the page until tiles that hold it are here. */
async function save(stroke) {
  const { image, tool, width, points } = stroke;
  const answer = await server.send("stroke", { image, tool, class: stroke.kind, width, points });
  if (answer) {
    stroke.run = answer.run;
    stroke.version = answer.images.find(({ name }) => name === image).strokes;
  } else scene.strokes = scene.strokes.filter((each) => each !== stroke);
  view.redraw();
}

function press(x, y) {
  const { width, height, name } = scene.image;
  if (x < 0 || y < 0 || x >= width || y >= height) return;
  if (scene.tool === "inspect") {
    if (phone.matches) {
      toggleSheet(true);
      const free = $("view").clientHeight - $("panel").clientHeight;                // about what the sheet leaves
      const [left, top] = view.offset, [, below] = view.toScreen(x, y);
      if (below > free) view.set(view.scale, left, top + Math.max(free, 80) / 2 - below);
    }
    return inspect(Math.floor(x), Math.floor(y));
  }
  const stroke = { image: name, tool: "fill", kind, width: 1, points: [[x, y]] };
  scene.strokes.push(stroke);
  save(stroke);
}

function undo() {
  if ($("undo").disabled && !server.waiting()) return;
  const last = scene.strokes.findLast((stroke) => !stroke.undone && stroke !== current);
  if (last) last.undone = true;
  again("undo", "Undone");
}

function redo() {
  const last = scene.strokes.find((stroke) => stroke.undone);
  if (last) last.undone = false;
  again("redo", "Done again");
}

/** Undo or redo; where that was in another image, say so. */
async function again(what, word) {
  const before = new Map(scene.state.images.map(({ name, strokes }) => [name, strokes]));
  const answer = await server.send(what, {});
  const other = answer?.images.find(({ name, strokes }) => before.get(name) !== strokes && name !== scene.image.name);
  if (other) toast(`${word} in ${other.name}`);
  view.redraw();
}

function cursor(at, keyboard) {
  scene.cursor.at = at;
  scene.cursor.keyboard = keyboard;
  showWhere();
  view.redraw();
}

function showWhere() {
  const { image, cursor: { at } } = scene;
  const inside = at && image && at[0] >= 0 && at[1] >= 0 && at[0] < image.width && at[1] < image.height;
  $("where").textContent = inside ? `x ${Math.floor(at[0])}  y ${Math.floor(at[1])}` : "";
}

// --- the state ----------------------------------------------------------------------------------------------------

function show(state) {
  const before = scene.state;
  const predictionBefore = scene.image?.prediction;
  scene.state = state;
  scene.image = state.images.find(({ name }) => name === scene.image?.name) ?? null;
  scene.palette = JSON.stringify(state.classes.map(({ colour }) => colour));
  if (kind >= state.classes.length) kind = 0;
  if (!scene.image) openImage(state.images[0].name);
  $("undo").disabled = !state.undo;
  $("redo").disabled = !state.redo;
  const changed = (part) => JSON.stringify(before?.[part]) !== JSON.stringify(state[part]);
  if (changed("classes")) showClasses();
  showCounts();
  if (changed("images")) showImages();
  if (changed("loss") || changed("agreement")) showChart();
  if (changed("models") || changed("model")) showModels();
  if (changed("model") || changed("run")) loadWindows();
  if (scene.seen && predictionBefore !== scene.image.prediction) inspect(scene.seen.x, scene.seen.y);
  $("learn").setAttribute("aria-checked", state.learning);
  $("message").textContent = state.message ?? "";
  showHint();
  showAccept();
  showCommands();
  view.redraw();
}

function showSaved(waiting, answering) {
  scene.offline = !answering;
  const strokes = `${waiting} ${waiting === 1 ? "change" : "changes"}`;
  const [name, text] = !answering && waiting ? ["no", `Not saved: ${strokes}`]
    : !answering ? ["away", "Server away"] : waiting ? ["soon", "Saving…"] : ["yes", "Saved"];
  const changed = $("saved").dataset.saved !== name;
  $("saved").dataset.saved = name;
  $("saved").textContent = text;
  const away = "The server does not answer. Paint on: all of it is saved once the same command runs again.";
  if (changed && !answering) toast(away, true);
  else if (changed && $("toast").dataset.stays) $("toast").hidden = true;
  view.redraw();
}

let toastTimer = 0;
function toast(text, stays = false) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  $("toast").dataset.stays = stays || "";
  clearTimeout(toastTimer);
  if (!stays) toastTimer = setTimeout(() => { $("toast").hidden = true; }, 5000);
}

function showHint() {
  const { painted, step } = scene.state;
  const texts = ["Choose a class, paint a few strokes in it",
    "Now a few strokes of another class: then the network learns"];
  $("hint").textContent = step ? "" : texts[painted.filter(Boolean).length] ?? "";
}

// --- classes ------------------------------------------------------------------------------------------------------

function showClasses() {
  const { classes } = scene.state;
  $("class-list").replaceChildren(...classes.map(({ name, colour }, index) => {
    const swatch = element("span", { className: "swatch" });
    swatch.style.backgroundColor = css(colour);
    const row = element("button", { className: "row", title: index < 9 ? `${name} (${index + 1})` : name }, swatch,
      element("span", { className: "grow", textContent: name }),
      element("span", { className: "count" }),
      element("kbd", { textContent: index < 9 ? index + 1 : "" }));
    row.setAttribute("role", "radio");
    row.setAttribute("aria-checked", index === kind);
    row.addEventListener("click", () => choose(index));
    const edit = element("button", { className: "icon edit", title: `Rename ${name}` }, icon("edit"));
    edit.setAttribute("aria-label", `Rename ${name}`);
    edit.addEventListener("click", () => editClass(index));
    return element("div", { className: "class" }, row, edit);
  }));
}

/** How many pixels are painted of each class. */
function showCounts() {
  const { painted } = scene.state;
  $("class-list").querySelectorAll(".count").forEach((count, index) => {
    count.textContent = painted[index] ? `${painted[index].toLocaleString("en")} px` : "";
  });
}

function choose(index) {
  if (index >= scene.state.classes.length) return;
  kind = index;
  if (scene.tool !== "fill") chooseTool("brush");
  $("class-list").querySelectorAll(".row").forEach((row, i) => row.setAttribute("aria-checked", i === kind));
  announce(scene.state.classes[index].name);
}

/** Ask for a class's name and colour; an index past the last one adds a class. */
function editClass(index) {
  const { classes } = scene.state;
  const isNew = index === classes.length;
  const used = classes.map(({ colour }) => colour.join());
  const { name, colour } = classes[index] ?? {
    name: `class ${index}`,
    colour: COLOURS.find((each) => !used.includes(each.join())) ?? COLOURS[index % COLOURS.length],
  };
  const hex = (each) => `#${each.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
  const offered = COLOURS.some((each) => each.join() === colour.join()) ? COLOURS : [colour, ...COLOURS.slice(0, 7)];
  const custom = element("input", { type: "color", value: hex(colour), title: "Another colour" });
  custom.setAttribute("aria-label", "Another colour");
  $("swatches").replaceChildren(...offered.map((each) => {
    const checked = each.join() === colour.join();
    const input = element("input", { type: "radio", name: "colour", value: hex(each), checked });
    input.setAttribute("aria-label", hex(each));
    input.style.backgroundColor = css(each);
    input.addEventListener("change", () => { custom.value = hex(each); });
    return input;
  }), custom);
  $("class-title").textContent = isNew ? "A new class" : `Class “${name}”`;
  $("class-name").value = name;
  const dialog = $("class-dialog");
  dialog.returnValue = "cancel";
  dialog.onclose = () => {
    $("view").focus();
    const newName = $("class-name").value.trim();
    if (dialog.returnValue !== "save" || !newName) return;
    const chosen = [1, 3, 5].map((at) => parseInt(custom.value.slice(at, at + 2), 16));
    const next = scene.state.classes.map((each) => ({ name: each.name, colour: each.colour }));
    next[index] = { name: newName, colour: chosen };
    server.send("classes", { classes: next }).then((answer) => { if (answer && isNew) choose(index); });
  };
  dialog.showModal();
  $("class-name").select();
}

// --- images -------------------------------------------------------------------------------------------------------

function openImage(name) {
  const image = scene.state.images.find((each) => each.name === name);
  if (!image || scene.image?.name === name) return;
  cancel();
  scene.image = image;
  scene.seen = null;
  scene.windows = { windows: [], cores: [] };
  const largest = largestBrush();
  if (scene.brush > largest || !scene.sized) setBrush(Math.round(Math.max(image.width, image.height) / 42));
  $("pixel").hidden = true;
  $("name").textContent = image.name;
  $("dimensions").textContent = `${image.width} × ${image.height}`;
  document.title = `${image.name} – Paint`;
  view.open();
  loadWindows();
  showImages();
  showAccept();
  announce(image.name);
}

function openNext(by) {
  const { images } = scene.state;
  const at = images.findIndex(({ name }) => name === scene.image.name);
  openImage(images[(at + by + images.length) % images.length].name);
}

function showImages() {
  const { images } = scene.state;
  $("images").hidden = images.length < 2;
  if (images.length < 2) return;
  const strip = $("images");
  const known = new Map([...strip.children].map((child) => [child.dataset.src, child]));
  strip.replaceChildren(...images.map((image) => {
    const button = known.get(thumbnailOf(image)) ?? thumbnail(image);
    button.setAttribute("aria-current", image.name === scene.image?.name);
    button.classList.toggle("accepted", image.accepted != null);
    button.title = image.accepted != null ? `${image.name}: mask saved` : image.name;
    return button;
  }));
  strip.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function thumbnailOf({ id, width, height }) {
  const level = Math.max(0, Math.ceil(Math.log2(Math.max(width, height) / 128)));
  return `tile/${id}/image/${level}/0/0.png?v=${scene.state.run}.image`;    // a later run may number images otherwise
}

function thumbnail(image) {
  const { name } = image, src = thumbnailOf(image);
  const picture = element("img", { loading: "lazy", src, alt: "", draggable: false });
  const button = element("button", {}, picture, element("span", { textContent: name }), icon("check"));
  button.dataset.src = src;
  button.addEventListener("click", () => openImage(name));
  return button;
}

let viewTimer = 0;
function moved() {
  $("zoom-text").textContent = `${Number((100 * view.scale).toPrecision(view.scale < 0.1 ? 2 : 3))} %`;
  showWhere();
  clearTimeout(viewTimer);
  viewTimer = setTimeout(() => server.tell("view", { image: scene.image.name, box: view.box() }), 250);
}

// --- learning -----------------------------------------------------------------------------------------------------

function showChart() {
  drawChart($("chart"), scene.state?.loss ?? [], scene.state?.agreement ?? []);
  const loss = scene.state?.loss.at(-1), agreement = scene.state?.agreement.at(-1);
  if (loss) $("chart").setAttribute("aria-label", `Loss ${loss[1].toFixed(3)} at step ${loss[0]}`
    + (agreement ? `; agreement on strokes put aside ${Math.round(100 * agreement[1])} %` : ""));
}

function showModels() {
  const { models, model } = scene.state;
  $("models").replaceChildren(...models.map((name) => {
    const [label, title] = MODELS[name];
    const button = element("button", { textContent: label, title });
    button.setAttribute("role", "radio");
    button.setAttribute("aria-checked", name === model);
    button.addEventListener("click", () => learn(scene.state.learning, name));
    return button;
  }));
}

function learn(learning, model = scene.state.model) {
  server.send("learn", { learning, model });
}

function nextModel() {
  const { models, model } = scene.state;
  const next = models[(models.indexOf(model) + 1) % models.length];
  learn(scene.state.learning, next);
  announce(MODELS[next][0]);
}

const NOTHING_YET = "First paint some strokes of two classes";

async function goToWorst() {
  if ($("next").disabled) return toast(NOTHING_YET);
  const worst = await server.get(`worst/${scene.image.id}`);
  if (!worst) return toast("Nothing is predicted here yet");
  view.glide(Math.max(view.scale, 2.5), worst.x + 0.5, worst.y + 0.5);
  if (scene.tool !== "erase") chooseTool("brush");
  cursor([worst.x + 0.5, worst.y + 0.5], true);
  announce(`The network is least sure at ${worst.x}, ${worst.y}`);
}

function showAccept() {
  if (!scene.image) return;
  const { prediction, accepted, whole } = scene.image;
  const isSaved = accepted != null;
  $("next").disabled = !prediction;
  $("accept").disabled = !prediction || !whole || accepted === prediction;
  $("accept").textContent = !isSaved ? "Use prediction as the mask"
    : accepted === prediction ? "Saved as the mask" : "Save the newer prediction";
  $("withdraw").hidden = !isSaved;
}

function accept(accepted) {
  const { name, prediction } = scene.image;
  if (accepted && !prediction) toast(NOTHING_YET);
  if (accepted && $("accept").disabled) return;
  server.send("accept", { image: name, accepted }).then((answer) => {
    if (answer) toast(accepted ? `The prediction of ${name} is saved as its mask` : `The mask of ${name} is withdrawn`);
  });
}

function showCommands() {
  const { commands, out } = scene.state;
  $("out").textContent = out;
  const lines = $("command-lines");
  if (lines.dataset.lines === JSON.stringify(commands)) return;
  lines.dataset.lines = JSON.stringify(commands);
  if (!commands.length) lines.textContent = "The commands come with the first prediction.";
  else lines.replaceChildren(...commands.map((line) => {
    const button = element("button", { className: "icon", title: "Copy" }, icon("copy"));
    button.setAttribute("aria-label", "Copy");
    button.addEventListener("click", () => {
      navigator.clipboard.writeText(line).then(() => announce("Copied"), () => announce("Not copied: select the line"));
    });
    return element("div", { className: "command" }, element("code", { textContent: line }), button);
  }));
}

// --- what the network sees ----------------------------------------------------------------------------------------

async function loadWindows() {
  if (!scene.image || !scene.layers.windows) return;
  const { id } = scene.image;
  const answer = await server.get(`windows/${id}`);
  if (answer && id === scene.image.id) scene.windows = answer;
  if (answer?.message) toast(answer.message);
  view.redraw();
}

async function inspect(x, y) {
  const { id } = scene.image;
  const answer = await server.get(`pixel/${id}/${x}/${y}`);
  if (!answer || id !== scene.image.id || scene.tool !== "inspect") return;      // another wish since then
  const isNew = !scene.seen;
  scene.seen = answer;
  $("pixel").hidden = false;
  const [x0, y0, x1, y1] = answer.sees;
  const side = Math.max(x1 - x0, y1 - y0);
  view.copy($("patch"), [x0, y0, x0 + side, y0 + side]);
  const unit = $("patch").width / side;
  const context = $("patch").getContext("2d");
  for (const [colour, width] of [["#000", 3], ["#fff", 1.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect((x - x0) * unit, (y - y0) * unit, Math.max(unit, 3), Math.max(unit, 3));
  }
  const { classes } = scene.state;
  const stroke = answer.stroke == null ? "" : `; painted ${classes[answer.stroke].name}`;
  $("pixel-text").textContent = `x ${x}, y ${y}: from these ${x1 - x0} × ${y1 - y0} pixels${stroke}`;
  $("probabilities").replaceChildren(...(answer.probabilities ?? []).map((share, index) => {
    const bar = element("span", { className: "bar" }, element("i"));
    bar.firstChild.style.width = `${100 * share}%`;
    bar.firstChild.style.backgroundColor = css(classes[index].colour);
    const percent = share > 0.0005 && share < 0.9995 ? (100 * share).toFixed(1) : Math.round(100 * share);
    return element("div", { className: "probability" }, element("span", { textContent: classes[index].name }), bar,
      element("span", { textContent: `${percent} %` }));
  }));
  if (!answer.probabilities) {
    $("probabilities").textContent = answer.prediction == null ? "Nothing is predicted here yet."
      : "The network is busy; its probabilities come with the next prediction.";
  }
  if (isNew) $("pixel").scrollIntoView({ block: "nearest" });
  const best = answer.prediction == null ? "not predicted yet" : `predicted ${classes[answer.prediction].name}`;
  announce(`${x}, ${y}: ${best}`);
  view.redraw();
}

// --- tools, layers, keys ------------------------------------------------------------------------------------------

function chooseTool(tool) {
  scene.tool = tool;
  $("view").dataset.tool = tool;
  document.querySelectorAll("[data-tool][role=radio]").forEach((button) => {
    button.setAttribute("aria-checked", button.dataset.tool === tool);
  });
  if (tool !== "inspect") {
    scene.seen = null;
    $("pixel").hidden = true;
  }
  view.redraw();
}

const largestBrush = () => Math.max(100, Math.round(Math.max(scene.image?.width ?? 0, scene.image?.height ?? 0) / 4));

function setBrush(width) {
  scene.brush = Math.min(Math.max(Math.round(width), 1), largestBrush());
  scene.sized = true;
  $("width").value = (100 * Math.log(scene.brush)) / Math.log(largestBrush());       // each step a share, not a number
  $("width").setAttribute("aria-valuetext", `${scene.brush} pixels`);
  $("width-text").textContent = `${scene.brush} px`;
  view.redraw();
}
const resizeBrush = (by) => {
  setBrush(by > 0 ? Math.max(scene.brush * 1.2, scene.brush + 1) : Math.min(scene.brush / 1.2, scene.brush - 1));
  announce(`Brush ${scene.brush} pixels`);
};

const toggles = {};
for (const [name, key, label, opacity, shown] of LAYERS) {
  const toggle = element("button", { className: "switch", title: `Show or hide (${key.toUpperCase()})` }, element("i"),
    element("span", { className: "grow", textContent: label }));
  toggle.setAttribute("role", "switch");
  const slider = element("input", { type: "range", min: 0, max: 100, value: 100 * opacity, id: `opacity-${name}` });
  slider.setAttribute("aria-label", `Opacity of ${label.toLowerCase()}`);
  let on = shown;
  const apply = () => {
    scene.layers[name] = on ? slider.value / 100 : 0;
    toggle.setAttribute("aria-checked", on);
    slider.classList.toggle("off", !on);
    view.redraw();
  };
  toggles[key] = () => {
    on = !on;
    if (on && slider.value === "0") slider.value = 100 * opacity;
    apply();
    if (name === "windows" && on) loadWindows();
    announce(`${label} ${on ? "shown" : "hidden"}`);
  };
  toggle.addEventListener("click", toggles[key]);
  slider.addEventListener("input", () => {
    const wasOff = !on;
    on = true;
    apply();
    if (name === "windows" && wasOff) loadWindows();
  });
  apply();
  const hint = element("kbd", { textContent: key.toUpperCase() });
  $("layers").append(element("div", { className: "layer" }, toggle, hint, slider));
}

const open = (id) => $(id).showModal();
function toggleSheet(isOpen = !document.body.classList.contains("sheet")) {
  document.body.classList.toggle("sheet", isOpen);
  $("sheet").setAttribute("aria-expanded", isOpen);
  if (isOpen) showChart();
}

const CLICKS = {
  undo, redo, sheet: () => toggleSheet(), "close-sheet": () => toggleSheet(false),
  "help-button": () => open("help"), "commands-button": () => open("commands"),
  "zoom-in": () => view.zoomAt(1.5), "zoom-out": () => view.zoomAt(1 / 1.5), "zoom-fit": view.fit,
  "zoom-text": () => view.zoomAt(1 / view.scale), "add-class": () => editClass(scene.state.classes.length),
  learn: () => learn(!scene.state.learning), next: goToWorst, accept: () => accept(true), withdraw: () => accept(false),
  cancel: () => $("class-dialog").close("cancel"),
};
for (const [id, action] of Object.entries(CLICKS)) $(id).addEventListener("click", () => scene.image && action());
document.querySelectorAll("[data-tool][role=radio]").forEach((button) => {
  button.addEventListener("click", () => chooseTool(button.dataset.tool));
});
$("width").addEventListener("input", () => setBrush(largestBrush() ** ($("width").value / 100)));

// A click leaves the keyboard with the image, so that Space paints and presses nothing; Tab walks over everything.
document.addEventListener("click", (event) => {
  const isPointer = event.detail > 0;
  const inDialog = document.querySelector("dialog[open]");
  if (isPointer && !inDialog && event.target.closest("button")) $("view").focus({ preventScroll: true });
});

const KEYS = {
  z: undo, y: redo, "[": () => resizeBrush(-1), "]": () => resizeBrush(1),
  "+": () => view.zoomAt(1.25), "=": () => view.zoomAt(1.25), "-": () => view.zoomAt(1 / 1.25), 0: view.fit,
  l: () => learn(!scene.state.learning), m: nextModel, n: goToWorst, a: () => accept(true),
  c: () => open("commands"), "?": () => open("help"),
  pageup: () => openNext(-1), pagedown: () => openNext(1), ...toggles,
  escape: () => { cancel(); toggleSheet(false); $("view").focus(); },
};
for (const [key, tool] of Object.entries(TOOL_KEYS)) KEYS[key] = () => { chooseTool(tool); announce(tool); };
for (let digit = 1; digit <= 9; digit++) KEYS[digit] = () => choose(digit - 1);

document.addEventListener("keydown", (event) => {
  const types = event.target.matches("input:not([type=range])");
  if (types || document.querySelector("dialog[open]") || !scene.image) return;
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key !== "z" && key !== "y") return;
  } else if (event.altKey) return;
  const action = key === "z" && event.shiftKey ? redo : KEYS[key];
  if (!action) return;
  event.preventDefault();
  action();
});

addEventListener("beforeunload", (event) => { if (server.waiting()) event.preventDefault(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { showChart(); view.redraw(); });
new ResizeObserver(showChart).observe($("chart"));
chooseTool("brush");
