// The connection to the stream. It comes back by itself; what is on the screen meanwhile does not
// count as live, which is for the listener to say.

import { Clock } from "./clock.js";
import { unpack } from "./message.js";

const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 4000;

export class Link extends EventTarget {
  constructor() {
    super();
    this.clock = new Clock();
    this.heard = -Infinity; // when something came, by performance.now()
    this.isUp = false;
    this.pause = FIRST_PAUSE_MS;
  }

  connect() {
    const place = new URL("stream", location.href);
    place.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    place.search = location.search; // the token
    const socket = new WebSocket(place);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = (event) => this.lost(event);
    this.socket = socket;
  }

  send(value) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(value));
    return true;
  }

  receive(data) {
    this.heard = performance.now();
    if (typeof data !== "string") {
      const frame = unpack(data);
      this.clock.note(frame.header.sent_ms);
      this.tell("frame", frame);
      return;
    }
    const value = JSON.parse(data);
    if (value.hello) {
      this.clock.reset();
      this.isUp = true;
      this.pause = FIRST_PAUSE_MS;
    }
    if (value.status) {
      this.clock.note(value.sent_ms);
      value.status.alarms = value.alarms;
    }
    for (const kind of ["hello", "status", "end", "refused"]) {
      if (value[kind] !== undefined) this.tell(kind, value[kind]);
    }
  }

  lost(event) {
    this.isUp = false;
    this.tell("down", event.code >= 4000 ? event.reason : "");
    setTimeout(() => this.connect(), this.pause);
    this.pause = Math.min(LONGEST_PAUSE_MS, this.pause * 1.7);
  }

  tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}
