// The bar above the picture, the coloured frame around it and the veil over it.

const SAY_AGAIN_MS = 1500;

export class Banner {
  constructor(find) {
    this.find = find;
    this.shown = "";
    this.spoken = "";
    this.spokenAt = -Infinity;
  }

  // Show what holds, the most urgent first; whether that is another state than before.
  show(states) {
    const key = JSON.stringify(states);
    if (key === this.shown) return false;
    this.shown = key;
    const isOther = document.body.dataset.state !== states[0].name;
    const [first, ...others] = states;
    document.body.dataset.level = first.level;
    document.body.dataset.state = first.name;
    this.find("#word").textContent = first.word;
    this.find("#meaning").textContent = first.meaning;
    const words = [...new Set(others.map((one) => one.word))].filter((word) => word !== first.word);
    this.find("#others").replaceChildren(...words.map(chip));
    this.find("#veil").hidden = !first.veil;
    this.find("#veil-word").textContent = first.word;
    this.find("#veil-meaning").textContent = first.meaning;
    this.speak(`${first.word}. ${first.meaning}`);
    return isOther;
  }

  // For those who do not see it; not more often than can be heard.
  speak(words) {
    clearTimeout(this.later);
    if (words === this.spoken) return;
    const wait = this.spokenAt + SAY_AGAIN_MS - performance.now();
    if (wait > 0) {
      this.later = setTimeout(() => this.speak(words), wait);
      return;
    }
    this.spoken = words;
    this.spokenAt = performance.now();
    this.find("#announcer").textContent = words;
  }
}

function chip(word) {
  const made = document.createElement("span");
  made.className = "chip";
  made.textContent = word;
  return made;
}
