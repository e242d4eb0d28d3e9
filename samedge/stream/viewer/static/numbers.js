// Latency, frames per second and drops; the plot of the latest latencies.

const KEPT = 300;
const WINDOW_MS = 2000;
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const NICE = [10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10000, 60000];

export class Numbers {
  constructor(find) {
    this.find = find;
    this.canvas = find("#plot");
    this.deadline = null; // ms
    this.reset();
  }

  reset() {
    this.latencies = [];
    this.drawn = []; // moments
    this.streamDrops = this.skipped = 0;
  }

  // Latencies that the server measured: [[number of the frame, ms], ...].
  addLatencies(pairs) {
    for (const [, ms] of pairs) this.latencies.push(ms);
    this.latencies.splice(0, this.latencies.length - KEPT);
  }

  addDrawn() {
    this.drawn.push(performance.now());
  }

  show() {
    const now = performance.now();
    this.drawn = this.drawn.filter((moment) => now - moment <= WINDOW_MS);
    const recent = this.latencies.slice(-10).sort(ascending);
    this.set("#latency", recent.length > 0 && this.drawn.length > 0 ? whole(recent[recent.length >> 1]) : "–");
    this.set("#rate", this.rate());
    this.set("#drops", short.format(this.streamDrops));
    const ordered = [...this.latencies].sort(ascending);
    const [half, most] = [share(ordered, 0.5), share(ordered, 0.95)];
    const words = ordered.length > 0 ? [`median ${whole(half)} ms`, `95 % within ${whole(most)} ms`] : [];
    if (this.skipped > 0) words.push(`${short.format(this.skipped)} skipped`);
    this.set("#percentiles", words.join(" · "));
    const isLate = this.deadline !== null && half > this.deadline;
    this.find("#latency").classList.toggle("late", isLate);
    this.plot(share(ordered, 0.99) ?? 0);
  }

  rate() {
    const count = this.drawn.length;
    if (count < 3) return "0";
    return ((count - 1) / ((this.drawn[count - 1] - this.drawn[0]) / 1000)).toFixed(1);
  }

  plot(most) {
    const density = window.devicePixelRatio || 1;
    const [wide, high] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (wide === 0) return;
    const size = [Math.round(wide * density), Math.round(high * density)];
    if (this.canvas.width !== size[0] || this.canvas.height !== size[1]) [this.canvas.width, this.canvas.height] = size;
    const context = this.canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, wide, high);
    const top = NICE.find((value) => value >= Math.max(most, 1.2 * (this.deadline ?? 0))) ?? most;
    const left = 34;
    const place = (ms) => high - 6 - (high - 14) * Math.min(1, ms / top);
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const ms of [0, top / 2, top]) {
      rule(context, left, wide, place(ms), colour("--rule"), []);
      context.fillStyle = colour("--faint");
      context.fillText(whole(ms), left - 6, place(ms));
    }
    if (this.deadline !== null && this.deadline <= top) rule(context, left, wide, place(this.deadline), colour("--alert"), [5, 4]);
    context.beginPath();
    const step = (wide - left) / (KEPT - 1);
    this.latencies.forEach((ms, k) => {
      const x = wide - (this.latencies.length - 1 - k) * step;
      if (k === 0) context.moveTo(x, place(ms));
      else context.lineTo(x, place(ms));
    });
    context.strokeStyle = colour("--object-1");
    context.lineWidth = 1.5;
    context.stroke();
  }

  set(where, text) {
    const element = this.find(where);
    if (element.textContent !== text) element.textContent = text;
  }
}

function rule(context, left, right, y, colour, dash) {
  context.beginPath();
  context.setLineDash(dash);
  context.moveTo(left, y);
  context.lineTo(right, y);
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.stroke();
  context.setLineDash([]);
}

function share(ordered, part) {
  return ordered[Math.min(ordered.length - 1, Math.floor(part * ordered.length))];
}

function ascending(a, b) {
  return a - b;
}

function whole(ms) {
  return String(Math.round(ms));
}
