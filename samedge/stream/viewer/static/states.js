// What the states are called on the screen, and how loudly they are said.
//
// level: "danger" (do not trust what you see), "warn", "info", "good".
// They stand in the order of their urgency here: what makes a picture or a mask wrong comes before
// what makes it late. veil: the picture itself is not to be looked at as live. masks: may be shown in this state.

const STATES = {
  ended: { word: "STREAM ENDED", meaning: "What you see is the last picture.", level: "danger", veil: true, masks: false },
  "connection lost": { word: "CONNECTION LOST", meaning: "What you see is old. Trying to come back …", level: "danger", veil: true, masks: false },
  "not answering": { word: "NO ANSWER", meaning: "The stream has stopped answering. What you see is old.", level: "danger", veil: true, masks: false },
  connecting: { word: "CONNECTING", meaning: "", level: "info", veil: false, masks: false },
  "no signal": { word: "NO SIGNAL", meaning: "No picture comes. Check the source and its cable.", level: "danger", veil: true, masks: false },
  stalled: { word: "STALLED", meaning: "The source gives the same picture again and again. It is old.", level: "danger", veil: true, masks: false },
  behind: { word: "LATE", meaning: "This page gets its pictures too late; the mask is not shown.", level: "danger", veil: false, masks: true },
  failed: { word: "FAILED", meaning: "The network gave no mask for this picture.", level: "danger", veil: false, masks: false },
  lost: { word: "LOST", meaning: "Not found any more. Click on it again.", level: "danger", veil: false, masks: true },
  late: { word: "LATE", meaning: "Masks come later than they should.", level: "warn", veil: false, masks: true },
  doubtful: { word: "DOUBTFUL", meaning: "Do not measure what is dashed.", level: "warn", veil: false, masks: true },
  prompt: { word: "PROMPT NEEDED", meaning: "Click on a structure, or drag a box around it.", level: "info", veil: false, masks: true },
  held: { word: "HELD", meaning: "A viewer has stopped the picture. Let run (Space) goes on.", level: "info", veil: false, masks: true },
  frozen: { word: "FROZEN", meaning: "The device has stopped its picture.", level: "info", veil: false, masks: true },
  starting: { word: "STARTING", meaning: "Waiting for the first picture.", level: "info", veil: false, masks: true },
  live: { word: "LIVE", meaning: "", level: "good", veil: false, masks: true },
};
const URGENCY = Object.keys(STATES);
// Shown for a moment longer than they last: they come and go with single frames.
const LINGER_MS = { late: 800, behind: 800, failed: 800, doubtful: 500 };
const SILENCE_MS = 1500; // without a word of the stream
const LONG_MS = 8000; // without a connection
const OLD_MS = 1500; // age of a picture that should be a live one
const STILL = ["no signal", "stalled", "held", "frozen", "starting", "failed"];

export class States {
  constructor(link, stage) {
    Object.assign(this, { link, stage });
    this.said = ["starting"]; // by the stream
    this.saidAt = -Infinity; // server's clock
    this.captured = null; // of the newest picture on the screen; server's clock
    this.end = null; // {why, failed}
    this.hasBeenUp = false;
    this.about = ""; // what runs
    this.reason = ""; // why the connection was closed
    this.seen = new Map(); // state -> when it held last
  }

  // The stream said so, at a moment of its clock; older news than what is known are none.
  hear(states, atMs) {
    if (atMs < this.saidAt) return;
    this.said = states;
    this.saidAt = atMs;
  }

  restart() {
    this.said = ["starting"];
    this.saidAt = -Infinity;
    this.captured = this.end = null;
    this.hasBeenUp = true;
    this.reason = "";
    this.seen.clear();
  }

  // What holds now, the most urgent first, each with its words.
  now() {
    const now = performance.now();
    const held = new Set(this.holding(now));
    for (const name of held) this.seen.set(name, now);
    for (const [name, when] of this.seen) {
      if (now - when < (LINGER_MS[name] ?? 0)) held.add(name);
    }
    const names = URGENCY.filter((name) => held.has(name));
    return (names.length > 0 ? names : ["live"]).map((name) => ({ name, ...STATES[name], ...this.words(name) }));
  }

  holding(now) {
    if (this.end) return ["ended"];
    if (!this.link.isUp) return [this.hasBeenUp || this.reason ? "connection lost" : "connecting"];
    if (now - this.link.heard > SILENCE_MS) return ["not answering"];
    const names = this.said.filter((name) => name !== "live");
    if (this.isBehind(now)) names.push("behind");
    // The stream lives, and nothing of it has been drawn here: that is not live yet.
    return names.length === 0 && this.captured === null ? ["starting"] : names;
  }

  // The stream lives, and says nothing against this picture, and yet it is an old one here.
  isBehind(now) {
    const frame = this.stage.frame;
    if (frame === null || this.captured === null) return false;
    if (this.said.some((name) => STILL.includes(name))) return false;
    const hasExpired = frame.shapes.length > 0 && now > frame.deadline + 100;
    return hasExpired || now - this.link.clock.here(this.captured) > OLD_MS;
  }

  loss() {
    if (this.reason) return { meaning: this.reason };
    if (performance.now() - this.link.heard < LONG_MS) return {};
    return { meaning: "What you see is old. If samedge was started anew, open the address that it printed." };
  }

  words(name) {
    if (name === "ended") return { meaning: this.end.why || STATES.ended.meaning, level: this.end.failed ? "danger" : "info" };
    if (name === "live") return { meaning: this.about };
    if (name === "connection lost") return this.loss();
    if (name !== "lost" && name !== "doubtful") return {};
    const objects = (this.stage.frame?.header.objects ?? []).filter((one) => one.status === name);
    if (objects.length === 0) return {};
    const names = objects.map((one) => one.name).join(", ");
    return { meaning: name === "lost" ? `Click again on: ${names}` : `Do not measure: ${names}` };
  }
}
