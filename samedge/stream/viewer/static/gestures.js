// Mouse, touch and keys on the picture -> points and boxes, as shares of the picture.
//
// Events: "point" {x, y, inside, fresh}, "box" {x0, y0, x1, y1}.

const DRAG_PX = { mouse: 6, pen: 8, touch: 14 };
const LONG_PRESS_MS = 500;
const KEY_STEP = 0.01;
const CROSS_MS = 8000; // the cross goes when it is not moved

export class Gestures extends EventTarget {
  constructor(stage) {
    super();
    this.stage = stage;
    this.press = null; // the pointer that is down
    this.cross = null; // [x, y] of the keyboard's cross
    const root = stage.root;
    root.addEventListener("pointerdown", (event) => this.down(event));
    root.addEventListener("pointermove", (event) => this.move(event));
    root.addEventListener("pointerup", (event) => this.up(event));
    root.addEventListener("pointercancel", () => this.cancel());
    root.addEventListener("contextmenu", (event) => event.preventDefault());
    root.addEventListener("keydown", (event) => this.key(event));
    root.addEventListener("blur", () => this.setCross(null));
    stage.paintMarks = (context, how) => this.paint(context, how);
  }

  // Leave off; whether there was something to leave off.
  cancel() {
    const was = this.press !== null || this.cross !== null;
    if (this.press) clearTimeout(this.press.timer);
    this.press = null;
    this.setCross(null);
    return was;
  }

  down(event) {
    if (this.press !== null || !event.isPrimary || ![0, 2].includes(event.button)) return;
    const at = this.stage.place(event.clientX, event.clientY);
    if (!isInside(at)) return;
    this.stage.root.setPointerCapture(event.pointerId);
    const press = { id: event.pointerId, kind: event.pointerType, from: at, at, x: event.clientX, y: event.clientY, isDrag: false, isDone: false };
    press.inside = event.button === 0 && !event.shiftKey;
    press.fresh = event.altKey;
    if (event.pointerType === "touch") press.timer = setTimeout(() => this.longPress(press), LONG_PRESS_MS);
    this.press = press;
    this.setCross(null);
  }

  longPress(press) {
    if (this.press !== press || press.isDrag) return;
    press.isDone = true;
    if (navigator.vibrate && navigator.userActivation?.hasBeenActive) navigator.vibrate(40);
    this.tell("point", { x: press.from[0], y: press.from[1], inside: false, fresh: false });
  }

  move(event) {
    const press = this.press;
    if (press === null || event.pointerId !== press.id || press.isDone) return;
    const far = Math.hypot(event.clientX - press.x, event.clientY - press.y);
    if (!press.isDrag && far < (DRAG_PX[press.kind] ?? DRAG_PX.touch)) return;
    press.isDrag = true;
    clearTimeout(press.timer);
    press.at = this.stage.place(event.clientX, event.clientY).map(clamp);
    this.stage.drawMarks();
  }

  up(event) {
    const press = this.press;
    if (press === null || event.pointerId !== press.id) return;
    clearTimeout(press.timer);
    this.press = null;
    if (press.isDone) return;
    const [[x, y], [u, v]] = [press.from, press.at];
    if (press.isDrag) this.tell("box", { x0: Math.min(x, u), y0: Math.min(y, v), x1: Math.max(x, u), y1: Math.max(y, v) });
    else this.tell("point", { x, y, inside: press.inside, fresh: press.fresh });
    this.stage.drawMarks();
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (step) {
      const size = KEY_STEP * (event.shiftKey ? 5 : 1);
      const [x, y] = this.cross ?? [0.5, 0.5];
      this.setCross([clamp(x + step[0] * size), clamp(y + step[1] * size)]);
    } else if (event.key === "Enter" && this.cross) {
      this.tell("point", { x: this.cross[0], y: this.cross[1], inside: !event.shiftKey, fresh: event.altKey });
    } else return;
    event.preventDefault();
  }

  setCross(cross) {
    clearTimeout(this.crossTimer);
    this.cross = cross;
    if (cross) this.crossTimer = setTimeout(() => this.setCross(null), CROSS_MS);
    this.stage.drawMarks();
  }

  paint(context, { line }) {
    const { width, height } = context.canvas;
    const strokes = [["rgba(0, 0, 0, 0.8)", line * 2.2], ["white", line]];
    for (const [colour, thick] of strokes) {
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.beginPath();
      if (this.press?.isDrag) {
        const [[x, y], [u, v]] = [this.press.from, this.press.at];
        context.rect(x * width, y * height, (u - x) * width, (v - y) * height);
      }
      if (this.cross) {
        const [x, y] = [this.cross[0] * width, this.cross[1] * height];
        const [gap, arm] = [line * 4, line * 16];
        for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
          context.moveTo(x + dx * gap, y + dy * gap);
          context.lineTo(x + dx * arm, y + dy * arm);
        }
      }
      context.stroke();
    }
  }

  tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

function clamp(share) {
  return Math.min(1, Math.max(0, share));
}

function isInside([x, y]) {
  return x >= 0 && x <= 1 && y >= 0 && y <= 1;
}
