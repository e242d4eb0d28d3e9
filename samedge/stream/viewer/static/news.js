// What happened: a list of the stream's alarms, and short words that go by themselves.

const KEPT = 20;
const TOAST_MS = 6000;
const MOST_TOASTS = 3;

export class News {
  constructor(find, clock) {
    this.find = find;
    this.clock = clock;
    this.known = new Set();
    this.count = 0;
  }

  // Alarms of the stream, each once.
  add(alarms) {
    for (const alarm of alarms ?? []) {
      const key = `${alarm.at_ms} ${alarm.kind} ${alarm.message}`;
      if (this.known.has(key)) continue;
      this.known.add(key);
      this.list(alarm);
      if (alarm.kind === "prompt refused") this.toast(alarm.message);
    }
  }

  list(alarm) {
    const when = new Date(Date.now() - (performance.now() - this.clock.here(alarm.at_ms)));
    const item = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = when.toLocaleTimeString("en-GB");
    item.append(time, ` ${alarm.message}`);
    const list = this.find("#events");
    list.prepend(item);
    while (list.children.length > KEPT) list.lastChild.remove();
    if (this.known.size > 1000) this.known = new Set([...this.known].slice(-100));
    this.find("#event-count").textContent = String(++this.count);
  }

  toast(words) {
    const box = this.find("#toasts");
    const made = document.createElement("p");
    made.textContent = words;
    box.append(made);
    while (box.children.length > MOST_TOASTS) box.firstChild.remove();
    setTimeout(() => made.remove(), TOAST_MS);
  }
}
