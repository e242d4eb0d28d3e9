// The server's clock in this page's time.
//
// A message cannot arrive before it was sent. The smallest difference seen lately between arrival
// and sending is therefore the nearest to the difference of both clocks, and a message that was
// held up on its way is known to be late. "Lately", because clocks drift.

const WINDOW_MS = 15000;

export class Clock {
  constructor() {
    this.reset();
  }

  reset() {
    this.before = Infinity;
    this.current = Infinity;
    this.since = performance.now();
  }

  // Note a message that was sent at `sentMs` of the server's clock and has just arrived.
  note(sentMs) {
    const now = performance.now();
    if (now - this.since > WINDOW_MS) {
      this.before = this.current;
      this.current = Infinity;
      this.since = now;
    }
    this.current = Math.min(this.current, now - sentMs);
  }

  // A moment of the server's clock as one of performance.now(); never later than it really is.
  here(serverMs) {
    return serverMs + Math.min(this.before, this.current);
  }
}
