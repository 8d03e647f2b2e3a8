// Pointer, pen, fingers and keys on the canvas, turned into strokes and movements of the view.

/**
 * Listen to the canvas. `act` has begin(x, y), extend([[x, y], ...]), end() and cancel() of a stroke, press(x, y) of
 * the tools that take a point, and cursor(at, isKeyboard), all in pixels of the image; `scene.tool` decides.
 */
export function listen(canvas, view, scene, act) {
  const pointers = new Map();           // pointer id → its place on the screen
  let doing = null;                     // "paint", "pan" or "pinch"
  let pinch = null;
  let hasPen = false;                   // once a pen is seen, fingers only move the view, so that a palm paints nothing

  const place = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  const pans = (event) => scene.tool === "hand" || event.button > 0 || (event.pointerType === "touch" && hasPen);

  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    hasPen ||= event.pointerType === "pen";
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    if (pointers.size === 2) {
      if (doing === "paint") act.cancel();              // the second finger says that the first one did not paint
      doing = "pinch";
      pinch = spread();
    } else if (pointers.size === 1) begin(event);
  });

  function begin(event) {
    const at = view.toImage(...place(event));
    act.cursor(at, false);
    doing = null;
    if (pans(event)) {
      doing = "pan";
      canvas.classList.add("panning");
    } else if (scene.tool === "brush" || scene.tool === "erase") {
      doing = "paint";
      act.begin(...at);
    } else act.press(...at);
  }

  canvas.addEventListener("pointermove", (event) => {
    const to = place(event);
    const from = pointers.get(event.pointerId);
    if (event.pointerType !== "touch" || doing === "paint") act.cursor(view.toImage(...to), false);
    if (!from) return;
    pointers.set(event.pointerId, to);
    if (doing === "paint") {
      const passed = event.getCoalescedEvents?.() ?? [];
      act.extend((passed.length ? passed : [event]).map((each) => view.toImage(...place(each))));
    } else if (doing === "pan") {
      const [left, top] = view.offset;
      view.set(view.scale, left + to[0] - from[0], top + to[1] - from[1]);
    } else if (doing === "pinch" && pointers.size > 1) {
      const next = spread();
      const [left, top] = view.offset;
      view.set(view.scale, left + next.x - pinch.x, top + next.y - pinch.y);
      view.zoomAt(next.distance / pinch.distance, next.x, next.y);
      pinch = next;
    }
  });

  const spread = () => {
    const [[ax, ay], [bx, by]] = [...pointers.values()];
    return { x: (ax + bx) / 2, y: (ay + by) / 2, distance: Math.max(Math.hypot(ax - bx, ay - by), 1) };
  };

  const lift = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (doing === "paint") {
      if (event.type === "pointercancel") act.cancel();
      else act.end();
    }
    if (doing !== "pinch" || pointers.size === 0) doing = null;      // the last finger of a pinch does not paint
    canvas.classList.remove("panning");
    if (event.pointerType === "touch") act.cursor(null, false);
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => {
    if (!pointers.size && !scene.cursor.keyboard) act.cursor(null, false);
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.002;         // a pinch on a touchpad is a wheel with Ctrl, in small steps
    view.zoomAt(Math.exp(-Math.max(-300, Math.min(300, event.deltaY * lines)) * speed), ...place(event));
  }, { passive: false });

  // --- the keyboard's cursor ------------------------------------------------------------------------------------

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  let held = null;                      // the key, Space or Enter, by which the brush is down

  function keyboardCursor() {
    const { width, height } = scene.image;
    const inside = (value, most) => Math.min(Math.max(Math.floor(value), 0), most - 1) + 0.5;   // a pixel's middle
    const [x0, y0, x1, y1] = view.box();
    const [x, y] = scene.cursor.at ?? [(x0 + x1) / 2, (y0 + y1) / 2];
    return [inside(x, width), inside(y, height)];
  }

  function move([dx, dy], byOne) {
    const step = byOne ? 1 : Math.max(1, Math.round(10 / view.scale));     // 10 pixels of the screen
    const [x, y] = keyboardCursor();
    const to = [Math.min(Math.max(x + dx * step, 0.5), scene.image.width - 0.5),
      Math.min(Math.max(y + dy * step, 0.5), scene.image.height - 0.5)];
    act.cursor(to, true);
    if (held) act.extend([to]);
    view.follow(...to);
  }

  function down(key) {
    const at = keyboardCursor();
    act.cursor(at, true);
    if (scene.tool !== "brush" && scene.tool !== "erase") return act.press(...at);
    held = key;
    act.begin(...at);
  }

  function up() {
    if (!held) return;
    held = null;
    act.end();
  }

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || doing) return;
    if (event.key in ARROWS) move(ARROWS[event.key], event.shiftKey);
    else if (event.key === " " && !held && !event.repeat) down(" ");
    else if (event.key === "Enter" && !event.repeat) held === "Enter" ? up() : held || down("Enter");
    else if (event.key !== " ") return;
    event.preventDefault();
  });
  canvas.addEventListener("keyup", (event) => { if (event.key === " " && held === " ") up(); });
  canvas.addEventListener("blur", up);
}
