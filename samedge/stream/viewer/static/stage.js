// The picture with its masks. Both are drawn in one go, from one message; what a mask's time is
// over for, goes.

import { outline } from "./outline.js";
import { paintMask, paintPrompt } from "./paint.js";

const MOST_DENSITY = 2.5; // canvas px per CSS px: more is not seen, and costs
const SQUARE = 0.01; // pixels whose sides differ by less are shown as squares
const PATIENCE_MS = 300; // for the browser to let us draw

export class Stage extends EventTarget {
  constructor(root) {
    super();
    this.root = root;
    this.sheet = root.querySelector("#sheet");
    this.picture = root.querySelector("#picture");
    this.masks = root.querySelector("#masks");
    this.marks = root.querySelector("#marks");
    this.fill = 0.3;
    this.selected = null;
    this.frame = null; // on the screen
    this.next = null; // decoded, and not drawn yet
    this.last = -1; // number of the newest message that came
    this.session = 0; // of the connection: each has numbers of its own
    this.masksAllowed = true;
    this.paintMarks = () => {};
    new ResizeObserver(() => this.resize()).observe(root);
    // Nobody looks at a hidden page, and its timers hardly run: it must not show an old mask in the
    // moment in which it is seen again.
    document.addEventListener("visibilitychange", () => (document.hidden ? this.hideMasks() : this.drawMasks()));
    document.addEventListener("freeze", () => this.hideMasks());
    window.addEventListener("pagehide", () => this.hideMasks());
    window.addEventListener("pageshow", () => this.drawMasks());
  }

  get isShowingMasks() {
    return this.frame !== null && this.frame.isMasked;
  }

  // Take a frame; it is drawn with the browser's next picture. `deadline` is when its masks go, in
  // ms of performance.now().
  async show({ header, picture, masks }, deadline) {
    this.last = header.number;
    const shapes = [];
    header.objects.forEach((object, k) => {
      if (masks[k] !== null) shapes.push({ object, mask: masks[k], path: outline(masks[k]) });
    });
    const session = this.session;
    const bitmap = await createImageBitmap(picture);
    if (session !== this.session || header.number < this.last || (this.next && header.number < this.next.header.number)) {
      bitmap.close(); // a newer one is under way: that one is to be shown
      return;
    }
    if (this.next) this.next.bitmap.close();
    this.next = { header, bitmap, shapes, deadline, isMasked: false };
    if (document.hidden) this.drawNext();
    else this.schedule();
  }

  // Another stream: what came before is over, and is not to be taken for its first picture.
  forget() {
    this.session++;
    this.last = -1;
    this.hideMasks();
    if (this.next) this.next.bitmap.close();
    if (this.frame) {
      this.frame.bitmap.close();
      for (const one of [this.picture, this.marks]) one.getContext("2d").clearRect(0, 0, one.width, one.height);
    }
    this.next = this.frame = null;
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    const draw = () => {
      cancelAnimationFrame(request);
      clearTimeout(timer);
      this.scheduled = false;
      this.drawNext();
    };
    const request = requestAnimationFrame(draw);
    const timer = setTimeout(draw, PATIENCE_MS); // windows behind others get no frames
  }

  drawNext() {
    const frame = this.next;
    if (frame === null) return;
    this.next = null;
    if (this.frame) this.frame.bitmap.close();
    this.frame = frame;
    this.resize();
    this.dispatchEvent(new CustomEvent("drawn", { detail: { header: frame.header, isHidden: document.hidden } }));
  }

  // Fit the canvases into the stage, in true proportions, and draw.
  resize() {
    const frame = this.frame;
    if (frame === null) return;
    const { width, height, spacing_mm: spacing } = frame.header;
    const ratio = spacing ? spacing[0] / spacing[1] : 1;
    const tall = Math.abs(ratio - 1) < SQUARE || ratio < 0.05 || ratio > 20 ? height : height * ratio;
    const zoom = Math.min(this.root.clientWidth / width, this.root.clientHeight / tall);
    const [wide, high] = [Math.floor(width * zoom), Math.floor(tall * zoom)];
    if (wide < 1 || high < 1) return;
    if (this.sheet.clientWidth !== wide || this.sheet.clientHeight !== high) {
      this.sheet.style.width = `${wide}px`;
      this.sheet.style.height = `${high}px`;
    }
    const density = Math.min(window.devicePixelRatio || 1, MOST_DENSITY);
    for (const canvas of [this.picture, this.masks, this.marks]) {
      const [x, y] = [Math.round(wide * density), Math.round(high * density)];
      if (canvas.width !== x || canvas.height !== y) [canvas.width, canvas.height] = [x, y];
    }
    this.line = Math.max(1.5, Math.min(wide, high) / 320) * density;
    this.scale = [this.picture.width / width, this.picture.height / height];
    this.draw();
  }

  draw() {
    const context = this.picture.getContext("2d", { alpha: false });
    context.imageSmoothingQuality = "medium";
    context.drawImage(this.frame.bitmap, 0, 0, this.picture.width, this.picture.height);
    this.drawMasks();
    this.drawMarks();
  }

  drawMasks() {
    const frame = this.frame;
    if (frame === null) return;
    const left = frame.deadline - performance.now();
    if (left <= 0 || !this.masksAllowed || document.hidden) {
      this.hideMasks();
      return;
    }
    const context = this.masks.getContext("2d");
    context.clearRect(0, 0, this.masks.width, this.masks.height);
    for (const shape of frame.shapes) {
      const isSelected = frame.shapes.length > 1 && shape.object.number === this.selected;
      paintMask(context, shape, { scale: this.scale, line: this.line, fill: this.fill, isSelected });
    }
    const chosen = frame.header.objects.find((one) => one.number === this.selected);
    if (chosen) paintPrompt(context, chosen, { scale: this.scale, line: this.line });
    frame.isMasked = frame.shapes.length > 0;
    clearTimeout(this.expiry);
    if (left < 1e9) this.expiry = setTimeout(() => this.expire(), Math.max(0, left));
  }

  // Take masks away whose time is over. Called by a timer of their own, and by whoever comes along.
  expire() {
    if (this.frame === null) return;
    const left = this.frame.deadline - performance.now();
    if (left <= 0) this.hideMasks();
    else if (left < 1e9) this.expiry = setTimeout(() => this.expire(), left);
  }

  hideMasks() {
    clearTimeout(this.expiry);
    this.masks.getContext("2d").clearRect(0, 0, this.masks.width, this.masks.height);
    if (this.frame) this.frame.isMasked = false;
  }

  // Whether masks may be shown at all: not in all states.
  allowMasks(allowed) {
    if (allowed === this.masksAllowed) return;
    this.masksAllowed = allowed;
    this.drawMasks();
  }

  // Marks of this page alone: a box that is being drawn, the cross.
  drawMarks() {
    const context = this.marks.getContext("2d");
    context.clearRect(0, 0, this.marks.width, this.marks.height);
    if (this.frame) this.paintMarks(context, { scale: this.scale, line: this.line });
  }

  // A place on the screen as a share of the picture, 0 to 1, or beyond it.
  place(clientX, clientY) {
    const room = this.sheet.getBoundingClientRect();
    return [(clientX - room.left) / room.width, (clientY - room.top) / room.height];
  }
}
