// The list of objects: colour, name, size, score; to select, rename and remove.

const px = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export class ObjectList {
  constructor(list, prompts) {
    this.list = list;
    this.prompts = prompts;
    this.rows = new Map(); // number -> elements
    this.mostName = 40;
  }

  // Sizes of masks that are not on the screen are not there either.
  showSizes(on) {
    this.list.classList.toggle("unmeasured", !on);
  }

  show(objects) {
    const numbers = new Set(objects.map((one) => one.number));
    for (const [number, row] of this.rows) {
      if (numbers.has(number)) continue;
      row.item.remove();
      this.rows.delete(number);
    }
    objects.forEach((object, place) => this.fill(this.row(object.number), object, place));
  }

  row(number) {
    if (!this.rows.has(number)) this.rows.set(number, this.make(number));
    return this.rows.get(number);
  }

  make(number) {
    const item = element("li", "object");
    const choose = element("button", "choose");
    const name = element("input", "name");
    const remove = element("button", "remove");
    const size = element("p", "size");
    const more = element("p", "more");
    const reason = element("p", "reason");
    choose.type = remove.type = "button";
    remove.textContent = "×";
    Object.assign(name, { type: "text", maxLength: this.mostName, spellcheck: false, autocomplete: "off" });
    const measure = element("div", "measure");
    measure.append(size, more);
    item.append(choose, name, remove, measure, reason);
    this.list.append(item);
    item.addEventListener("click", (event) => {
      if (event.target !== remove) this.prompts.select(number);
    });
    remove.addEventListener("click", () => this.prompts.remove(number));
    name.addEventListener("change", () => this.prompts.rename(number, name.value));
    name.addEventListener("keydown", (event) => {
      if (event.key === "Enter") name.blur();
      if (event.key === "Escape") {
        name.value = name.dataset.value;
        name.blur();
      }
    });
    return { item, choose, name, remove, measure, size, more, reason };
  }

  fill(row, object, place) {
    const isSelected = object.number === this.prompts.selected && !this.prompts.isNew;
    const takesPrompts = this.prompts.kinds.length > 0;
    setIf(row.item.dataset, "status", object.status);
    row.item.style.setProperty("--hue", `rgb(${object.colour.join(", ")})`);
    row.item.classList.toggle("selected", isSelected && takesPrompts);
    setIf(row.choose, "textContent", String(place + 1));
    row.choose.setAttribute("aria-label", `Select ${object.name}`);
    row.choose.setAttribute("aria-pressed", String(isSelected));
    setIf(row.name.dataset, "value", object.name);
    if (document.activeElement !== row.name) setIf(row.name, "value", object.name);
    row.name.setAttribute("aria-label", `Name of object ${object.number}`);
    row.name.readOnly = !takesPrompts;
    row.remove.setAttribute("aria-label", `Remove ${object.name}`);
    row.remove.hidden = !takesPrompts;
    const [size, more] = numbers(object);
    setIf(row.size, "textContent", size);
    setIf(row.more, "textContent", more);
    row.measure.hidden = size === "";
    setIf(row.reason, "textContent", words(object));
  }
}

function numbers(object) {
  if (object.status !== "found") return ["", ""];
  const area = `${px.format(object.area_px)} px`;
  const score = object.score === null ? [] : [`score ${object.score.toFixed(2)}`];
  if (object.area_mm2 === null) return [area, score.join("")];
  return [millimetres(object.area_mm2), [area, ...score].join(" · ")];
}

function millimetres(area) {
  const digits = area < 10 ? 2 : area < 100 ? 1 : 0;
  return `${area.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })} mm²`;
}

function words(object) {
  if (object.status === "found") return "";
  if (object.status === "waiting") return "no mask in this picture";
  return object.reason ? `${object.status}: ${object.reason}` : object.status;
}

function setIf(target, key, value) {
  if (target[key] !== value) target[key] = value;
}

function element(tag, name) {
  const made = document.createElement(tag);
  made.className = name;
  return made;
}
