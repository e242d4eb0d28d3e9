// Points and boxes -> commands to the stream, about the object that is selected.
//
// A new object has no number until the stream gave it one. Points that are set meanwhile wait for it.

const ANSWER_MS = 2000;
const SMALLEST_BOX_PX = 2;

export class Prompts {
  // `send` takes a command, `tell` words for the user, `onChange` is called when the selection is
  // another one.
  constructor({ send, tell, onChange }) {
    Object.assign(this, { send, tell, onChange });
    this.objects = [];
    this.selected = null; // number of an object
    this.isNew = false; // the next point or box makes a new object
    this.size = null; // [width, height] of the frame in px
    this.kinds = ["point", "box"]; // that the model takes
    this.asked = null; // a new object was asked for: {before, until, waiting}
  }

  get isArmed() {
    return this.isNew || this.selected === null;
  }

  select(number) {
    this.selected = number;
    this.isNew = false;
    this.onChange();
  }

  selectPlace(place) {
    const object = this.objects[place];
    if (object) this.select(object.number);
  }

  beginNew(on = true) {
    this.isNew = on && this.kinds.length > 0;
    this.onChange();
  }

  remove(number = this.selected) {
    if (number !== null && this.kinds.length > 0) this.send({ command: "remove", object: number });
  }

  rename(number, name) {
    const text = name.trim();
    if (text) this.send({ command: "rename", object: number, name: text });
  }

  point({ x, y, inside, fresh }) {
    if (!this.takes("point")) return;
    if (!inside && this.isArmed && this.asked === null) {
      this.tell("A point outside an object needs one inside it first.");
      return;
    }
    const [width, height] = this.size;
    // Pixel k reaches from k to k + 1 on the screen, and its place is k: that of its middle.
    const at = { x: within(x * width - 0.5, width - 1), y: within(y * height - 0.5, height - 1) };
    this.ask({ command: "click", ...at, inside, fresh });
  }

  box({ x0, y0, x1, y1 }) {
    if (!this.takes("box")) return;
    const [width, height] = this.size;
    const box = { x0: x0 * width, y0: y0 * height, x1: x1 * width, y1: y1 * height };
    if (box.x1 - box.x0 < SMALLEST_BOX_PX || box.y1 - box.y0 < SMALLEST_BOX_PX) return;
    this.ask({ command: "drag", ...box });
  }

  // The objects of a new frame.
  update(objects, size) {
    this.objects = objects;
    this.size = size;
    const numbers = objects.map((one) => one.number);
    if (this.asked) this.answer(numbers);
    const isGone = this.selected !== null && !numbers.includes(this.selected);
    if (isGone || (this.selected === null && numbers.length > 0)) {
      this.selected = numbers[0] ?? null;
      this.onChange();
    }
  }

  // Another stream: its objects are others.
  forget() {
    this.objects = [];
    this.selected = this.asked = null;
    this.isNew = false;
    this.onChange();
  }

  ask(command) {
    if (this.asked) {
      this.asked.waiting.push(command);
      return;
    }
    const isNew = this.isArmed;
    if (!this.send({ ...command, object: isNew ? 0 : this.selected })) return;
    if (!isNew) return;
    this.asked = { before: this.objects.map((one) => one.number), until: performance.now() + ANSWER_MS, waiting: [] };
    this.isNew = false;
    this.onChange();
  }

  answer(numbers) {
    const made = numbers.filter((number) => !this.asked.before.includes(number));
    const { until, waiting } = this.asked;
    if (made.length === 0 && performance.now() < until) return;
    this.asked = null;
    if (made.length === 0) return; // refused, which the stream has said
    this.selected = made.at(-1);
    for (const command of waiting) this.ask(command);
    this.onChange();
  }

  takes(kind) {
    if (this.size === null) return false;
    if (this.kinds.includes(kind)) return true;
    const words = this.kinds.length > 0 ? `it takes a ${this.kinds.join(" or a ")}` : "it finds its structures by itself";
    this.tell(`This model takes no ${kind}: ${words}.`);
    return false;
  }
}

function within(value, most) {
  return Math.min(most, Math.max(0, value));
}
