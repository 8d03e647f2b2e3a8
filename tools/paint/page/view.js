// The canvas: the image and what lies over it, zoomed and moved. Drawn anew at most once a frame, from tiles.

import { SIDE, tileCache } from "./tiles.js";

const LARGEST = 64;                     // screen pixels that one pixel of the image may become
const CRISP = 2;                        // from this zoom on, pixels are shown as squares, outlines as lines
const MARGIN = 24;                      // screen pixels around an image that is fitted

const still = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * The view on a canvas. It draws `scene`, which main.js fills:
 * {state, image, layers: {name: opacity}, strokes: [those not yet in the tiles], windows, seen, cursor, tool, brush,
 * offline, palette}. onMove() is called when the image has been moved or zoomed.
 */
export function makeView(canvas, scene, onMove) {
  const context = canvas.getContext("2d", { alpha: false });
  const strokeLayer = document.createElement("canvas").getContext("2d");
  const tiles = tileCache(() => redraw());
  let scale = 1, left = 0, top = 0;     // the image's point (x, y) is at (left + scale·x, top + scale·y)
  let width = 0, height = 0, ratio = 1; // of the canvas: CSS pixels, and device pixels in each
  let scheduled = false, moving = 0;
  const remembered = new Map();         // image name → {scale, left, top}

  function redraw() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => { scheduled = false; draw(); });
  }

  // --- where the image is ---------------------------------------------------------------------------------------

  const toImage = (x, y) => [(x - left) / scale, (y - top) / scale];
  const toScreen = (x, y) => [left + x * scale, top + y * scale];
  const fitting = () => Math.min(
    (width - 2 * MARGIN) / scene.image.width, (height - 2 * MARGIN) / scene.image.height, LARGEST);

  function fit() {
    place(fitting(), scene.image.width / 2, scene.image.height / 2);
    remembered.delete(scene.image.name);         // so it stays whole when the room for it changes
  }

  /** Show the point (x, y) of the image in the middle. */
  function place(newScale, x, y) {
    set(newScale, width / 2 - x * newScale, height / 2 - y * newScale);
  }

  function set(newScale, newLeft, newTop) {
    if (!scene.image || !width) return;
    scale = newScale;
    // Some of the image always stays in view.
    const keep = 40;
    left = Math.min(Math.max(newLeft, keep - scene.image.width * scale), width - keep);
    top = Math.min(Math.max(newTop, keep - scene.image.height * scale), height - keep);
    remembered.set(scene.image.name, { scale, left, top });
    onMove();
    redraw();
  }

  /** Zoom so that the point of the image that is at (x, y) of the screen stays there. */
  function zoomAt(factor, x = width / 2, y = height / 2) {
    const next = Math.min(Math.max(scale * factor, Math.min(fitting() / 2, 1)), LARGEST);
    set(next, x - ((x - left) * next) / scale, y - ((y - top) * next) / scale);
  }

  /** Move to a point of the image within a quarter of a second, or at once where people want no motion. */
  function glide(newScale, x, y) {
    const filled = (value, size, room) => (
      size < room ? size / 2 : Math.min(Math.max(value, room / 2), size - room / 2));
    x = filled(x, scene.image.width, width / newScale);             // where the image ends, no further
    y = filled(y, scene.image.height, height / newScale);
    const from = { scale, x: (width / 2 - left) / scale, y: (height / 2 - top) / scale };
    const began = performance.now(), mine = ++moving;
    const step = (now) => {
      if (mine !== moving) return;
      const t = still.matches ? 1 : Math.min((now - began) / 250, 1);
      const eased = 1 - (1 - t) ** 3;
      const mix = (a, b) => a + (b - a) * eased;
      place(from.scale * (newScale / from.scale) ** eased, mix(from.x, x), mix(from.y, y));
      if (t < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  /** Bring a point of the image into view, where it is not. */
  function follow(x, y) {
    const [sx, sy] = toScreen(x, y);
    const edge = Math.min(60, width / 4, height / 4);
    const dx = Math.max(edge - sx, 0) + Math.min(width - edge - sx, 0);
    const dy = Math.max(edge - sy, 0) + Math.min(height - edge - sy, 0);
    if (dx || dy) set(scale, left + dx, top + dy);
  }

  function resize() {
    const before = { width, height };
    width = canvas.clientWidth;
    height = canvas.clientHeight;
    ratio = devicePixelRatio;
    canvas.width = Math.max(Math.round(width * ratio), 1);
    canvas.height = Math.max(Math.round(height * ratio), 1);
    strokeLayer.canvas.width = canvas.width;
    strokeLayer.canvas.height = canvas.height;
    if (scene.image && remembered.has(scene.image.name)) set(scale, left + (width - before.width) / 2, top + (height - before.height) / 2);
    else if (scene.image) fit();
    draw();                             // at once: a canvas that is resized is empty
  }
  new ResizeObserver(resize).observe(canvas);

  /** Another image: as it was seen last. */
  function open() {
    moving++;
    const last = remembered.get(scene.image.name);
    if (last) set(last.scale, last.left, last.top);
    else if (width) fit();
  }

  /** The part of the image that is in view: [x0, y0, x1, y1], whole pixels. */
  function box() {
    const [x0, y0] = toImage(0, 0), [x1, y1] = toImage(width, height);
    const within = (value, most) => Math.min(Math.max(value, 0), most);
    return [within(Math.floor(x0), scene.image.width), within(Math.floor(y0), scene.image.height),
      within(Math.ceil(x1), scene.image.width), within(Math.ceil(y1), scene.image.height)];
  }

  // --- tiles ----------------------------------------------------------------------------------------------------

  const versionOf = (layer) => {
    const { image, state } = scene;
    return `${state.run ?? ""}.${{ image: "image", strokes: image.strokes }[layer] ?? image.prediction}`;
  };
  const coarsest = () => Math.max(0, Math.ceil(Math.log2(Math.max(scene.image.width, scene.image.height) / SIDE)));
  // Half as many pixels in each direction, as long as a pixel of the tile covers at least one of the screen.
  const levelInView = () => Math.min(Math.max(Math.floor(-Math.log2(scale * ratio) + 1e-6), 0), coarsest());

  function* inView(level) {
    const [x0, y0, x1, y1] = box();
    const side = SIDE * 2 ** level;
    for (let row = Math.floor(y0 / side); row * side < y1; row++) {
      for (let column = Math.floor(x0 / side); column * side < x1; column++) yield [column, row];
    }
  }

  const keyOf = (layer, level, column, row) => {
    const colours = layer === "image" || layer === "uncertainty" ? "" : scene.palette;
    return `${scene.image.name}/${layer}/${level}/${column}/${row}/${colours}`;
  };

  function request(layer, level, column, row) {
    const version = versionOf(layer);
    const address = `tile/${scene.image.id}/${layer}/${level}/${column}/${row}.png?v=${version}`;
    const colours = scene.state.classes.map(({ colour }) => colour);
    return { key: keyOf(layer, level, column, row), version, address, layer, level, colours };
  }

  /** What is in view of the layers that are shown, the nearest to the middle first; the whole image before all else. */
  function wanted() {
    const level = levelInView();
    const [cx, cy] = toImage(width / 2, height / 2).map((value) => value / (SIDE * 2 ** level) - 0.5);
    const here = [...inView(level)].sort((a, b) => Math.hypot(a[0] - cx, a[1] - cy) - Math.hypot(b[0] - cx, b[1] - cy));
    const layers = ["image", "strokes"];
    if (scene.image.prediction && (scene.layers.prediction || scene.layers.outlines)) layers.push("prediction");
    if (scene.image.prediction && scene.layers.uncertainty) layers.push("uncertainty");
    return [request("image", coarsest(), 0, 0),
      ...layers.flatMap((layer) => here.map(([column, row]) => request(layer, level, column, row)))];
  }

  /** Draw one layer's tiles; where one is not here yet, the part of a coarser one that covers the same place. */
  function drawTiles(target, layer, part = "picture") {
    const level = levelInView();
    const screen = (value, origin) => Math.round((origin + value * scale) * ratio);   // whole device pixels: no seams
    for (const [column, row] of inView(level)) {
      for (let up = level; up <= coarsest(); up++) {
        const reduced = up - level;
        const tile = tiles.find(keyOf(layer, up, column >> reduced, row >> reduced));
        const picture = tile?.[part];
        if (!picture) continue;
        const share = SIDE / 2 ** reduced;              // of the coarser tile's pixels
        const sx = (column % 2 ** reduced) * share, sy = (row % 2 ** reduced) * share;
        const sw = Math.min(share, picture.width - sx), sh = Math.min(share, picture.height - sy);
        if (sw <= 0 || sh <= 0) break;
        const unit = 2 ** up;
        const x0 = column * SIDE * 2 ** level, y0 = row * SIDE * 2 ** level;
        const px = screen(x0, left), py = screen(y0, top);
        const pw = screen(x0 + sw * unit, left) - px, ph = screen(y0 + sh * unit, top) - py;
        target.drawImage(picture, sx, sy, sw, sh, px, py, pw, ph);
        break;
      }
    }
  }

  const strokesAreCurrent = (version) => {
    const level = levelInView();
    return [...inView(level)].every(([column, row]) => tiles.isCurrent(keyOf("strokes", level, column, row), version));
  };

  // --- drawing --------------------------------------------------------------------------------------------------

  function draw() {
    if (!scene.image || !width) return;
    const style = getComputedStyle(canvas);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = style.getPropertyValue("--table");
    context.fillRect(0, 0, canvas.width, canvas.height);

    context.save();
    clipToImage();
    context.imageSmoothingEnabled = scale * ratio < CRISP;
    drawTiles(context, "image");
    context.imageSmoothingEnabled = false;
    if (scene.image.prediction) drawPrediction();
    drawStrokes();
    context.restore();

    context.setTransform(ratio, 0, 0, ratio, 0, 0);     // from here on in CSS pixels
    if (scene.layers.windows) drawWindows(style);
    drawSeen(style);
    drawCursor();
    tiles.want(wanted());
  }

  function clipToImage() {
    context.beginPath();
    context.rect(Math.round(left * ratio), Math.round(top * ratio),
      Math.round(scene.image.width * scale * ratio), Math.round(scene.image.height * scale * ratio));
    context.clip();
  }

  function drawPrediction() {
    const { prediction, uncertainty, outlines } = scene.layers;
    context.globalAlpha = prediction;
    if (prediction) drawTiles(context, "prediction");
    context.globalAlpha = uncertainty;
    if (uncertainty) drawTiles(context, "uncertainty");
    context.globalAlpha = outlines;
    if (outlines && scale < CRISP) drawTiles(context, "prediction", "outline");
    else if (outlines) drawLines();
    context.globalAlpha = 1;
  }

  /** The borders between classes as lines of one width, however far the view is zoomed in. */
  function drawLines() {
    for (const [column, row] of inView(0)) {
      const tile = tiles.find(keyOf("prediction", 0, column, row));
      if (!tile?.lines) continue;
      tile.paths ??= pathsOf(tile.lines);
      context.save();
      const [x, y] = toScreen(column * SIDE, row * SIDE);
      context.transform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
      context.lineCap = "round";
      for (const [kind, path] of tile.paths) {
        context.lineWidth = 3.5 / scale;
        context.strokeStyle = "rgb(0 0 0 / 60%)";
        context.stroke(path);
        context.lineWidth = 1.75 / scale;
        const colour = scene.state.classes[kind]?.colour ?? [255, 255, 255];
        context.strokeStyle = `rgb(${colour.map((part) => (part + 255) / 2)})`;
        context.stroke(path);
      }
      context.restore();
    }
  }

  function pathsOf(lines) {
    const paths = new Map();
    for (let i = 0; i < lines.length; i += 5) {
      const kind = lines[i + 4];
      if (!paths.has(kind)) paths.set(kind, new Path2D());
      paths.get(kind).moveTo(lines[i], lines[i + 1]);
      paths.get(kind).lineTo(lines[i + 2], lines[i + 3]);
    }
    return paths;
  }

  /** The strokes of the tiles, over them those that the tiles do not hold yet; together a layer of its own. */
  function drawStrokes() {
    const layer = strokeLayer;
    layer.setTransform(1, 0, 0, 1, 0, 0);
    layer.clearRect(0, 0, canvas.width, canvas.height);
    layer.imageSmoothingEnabled = false;
    drawTiles(layer, "strokes");
    scene.strokes = scene.strokes.filter((stroke) => !(stroke.version && isInTiles(stroke)));
    const pending = scene.strokes.filter((stroke) => stroke.image === scene.image.name && !stroke.undone);
    layer.setTransform(scale * ratio, 0, 0, scale * ratio, left * ratio, top * ratio);
    for (const stroke of pending) drawStroke(layer, stroke);
    layer.globalCompositeOperation = "source-over";

    context.globalAlpha = scene.layers.strokes;
    context.drawImage(layer.canvas, 0, 0);
    context.globalAlpha = 1;
    if (scene.offline) for (const stroke of pending) if (!stroke.version) markUnsaved(stroke);
  }

  // The answer named the version of the strokes in which this one is; later versions hold it, too.
  function isInTiles(stroke) {
    if (stroke.image !== scene.image.name || stroke.run !== scene.state.run) return true;
    return scene.image.strokes >= stroke.version && strokesAreCurrent(versionOf("strokes"));
  }

  function trace(target, points) {
    target.beginPath();
    target.moveTo(...points[0]);
    if (points.length === 1) target.lineTo(points[0][0] + 0.001, points[0][1]);    // a dab
    for (const point of points.slice(1)) target.lineTo(...point);
  }

  function drawStroke(target, { tool, kind, width: diameter, points }) {
    if (tool === "fill") return;                        // its region is the server's to find: see markUnsaved
    target.globalCompositeOperation = tool === "erase" ? "destination-out" : "source-over";
    target.lineCap = target.lineJoin = "round";
    target.lineWidth = diameter;
    target.strokeStyle = `rgb(${scene.state.classes[kind].colour})`;
    trace(target, points);
    target.stroke();
  }

  /** A stroke that the server has not answered yet, while it is away: a dashed line along it. */
  function markUnsaved({ points }) {
    context.save();
    context.setTransform(scale * ratio, 0, 0, scale * ratio, left * ratio, top * ratio);
    trace(context, points);
    for (const [colour, dash, size] of [["#000", [], 3.5], ["#fff", [5, 5], 2]]) {
      context.setLineDash(dash.map((length) => length / scale));
      context.lineWidth = size / scale;
      context.strokeStyle = colour;
      context.stroke();
    }
    context.restore();
  }

  const rectangle = ([x0, y0, x1, y1]) => [left + x0 * scale, top + y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale];
  const around = (outer, inner) => {                    // the frame between two rectangles
    const path = new Path2D();
    path.rect(...rectangle(outer));
    path.rect(...rectangle(inner));
    return path;
  };

  /** Cores as a grid; around each its halo, which lies over its neighbours; the window below the cursor in bold. */
  function drawWindows(style) {
    const { windows, cores } = scene.windows;
    const colour = style.getPropertyValue("--window");
    const [x, y] = scene.cursor.at ?? [-1, -1];
    context.save();
    context.globalAlpha = scene.layers.windows;
    let chosen = -1;
    windows.forEach((window, i) => {
      context.fillStyle = `rgb(${colour} / 16%)`;
      context.fill(around(window, cores[i]), "evenodd");
      const [x0, y0, x1, y1] = cores[i];
      if (x >= x0 && x < x1 && y >= y0 && y < y1) chosen = i;
    });
    const line = (box, dash, size, ink) => {
      context.setLineDash(dash);
      context.lineWidth = size;
      context.strokeStyle = ink;
      context.strokeRect(...rectangle(box));
    };
    for (const core of cores) line(core, [], 1, `rgb(${colour} / 90%)`);
    if (chosen >= 0) {
      context.fillStyle = `rgb(${colour} / 40%)`;
      context.fill(around(windows[chosen], cores[chosen]), "evenodd");
      line(cores[chosen], [], 2.5, `rgb(${colour})`);
      line(windows[chosen], [], 3, "rgb(0 0 0 / 60%)");
      line(windows[chosen], [6, 4], 2, "#fff");
    }
    context.restore();
  }

  /** The pixel that was asked about, and the square that the network saw for it. */
  function drawSeen(style) {
    if (!scene.seen) return;
    const { x, y, sees } = scene.seen;
    const frame = (box, grow, colour, size) => {
      const [a, b, w, h] = rectangle(box);
      context.lineWidth = size;
      context.strokeStyle = colour;
      context.strokeRect(a - grow, b - grow, w + 2 * grow, h + 2 * grow);
    };
    frame(sees, 0, "rgb(0 0 0 / 70%)", 4);
    frame(sees, 0, "#fff", 2);
    frame([x, y, x + 1, y + 1], 1.5, "#000", 3);
    frame([x, y, x + 1, y + 1], 1.5, style.getPropertyValue("--accent"), 1.5);
  }

  /** The brush as a ring of its size, for the pointer; with cross hairs for the keyboard. */
  function drawCursor() {
    const { at, keyboard, down } = scene.cursor;
    if (!at) return;
    const [x, y] = toScreen(...at);
    const paints = scene.tool === "brush" || scene.tool === "erase";
    const radius = paints ? Math.max((scene.brush * scale) / 2, 1.5) : 4;
    const shape = () => {
      context.beginPath();
      if (paints || keyboard) context.arc(x, y, radius, 0, 7);
      if (!keyboard) return;
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + dx * (radius + 3), y + dy * (radius + 3));
        context.lineTo(x + dx * (radius + 15), y + dy * (radius + 15));
      }
    };
    context.setLineDash([]);
    for (const [colour, size] of [["rgb(0 0 0 / 70%)", 3.5], [down ? "#ffd84d" : "#fff", 1.5]]) {
      shape();
      context.strokeStyle = colour;
      context.lineWidth = size;
      context.stroke();
    }
  }

  /** The square [x0, y0, x1, y1] of the image, as far as its tiles are here, on another canvas. */
  function copy(target, [x0, y0, x1, y1]) {
    const into = target.getContext("2d");
    const unit = target.width / (x1 - x0);
    into.imageSmoothingEnabled = false;
    into.fillStyle = "#888";
    into.fillRect(0, 0, target.width, target.height);
    for (let level = coarsest(); level >= 0; level--) {
      const side = SIDE * 2 ** level;
      for (let row = Math.floor(y0 / side); row * side < y1; row++) {
        for (let column = Math.floor(x0 / side); column * side < x1; column++) {
          const picture = tiles.find(keyOf("image", level, column, row))?.picture;
          if (!picture) continue;
          into.drawImage(picture, (column * side - x0) * unit, (row * side - y0) * unit,
            picture.width * 2 ** level * unit, picture.height * 2 ** level * unit);
        }
      }
    }
  }

  return {
    redraw, fit, set, zoomAt, glide, follow, open, box, toImage, toScreen, copy,
    get scale() { return scale; },
    get offset() { return [left, top]; },
  };
}
