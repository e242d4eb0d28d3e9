// The page: what comes from the stream goes to its parts, what the user does goes back.

import { Banner } from "./banner.js";
import { Gestures } from "./gestures.js";
import { listenToKeys } from "./keys.js";
import { Link } from "./link.js";
import { News } from "./news.js";
import { Numbers } from "./numbers.js";
import { ObjectList } from "./objects.js";
import { Prompts } from "./prompts.js";
import { Stage } from "./stage.js";
import { States } from "./states.js";

const LOOK_MS = 100; // between two looks at what has become old
const NUMBERS_MS = 250;
const FILL_STEP = 10;

const find = (where) => document.querySelector(where);
export const link = new Link();
export const stage = new Stage(find("#stage"));
const states = new States(link, stage);
const banner = new Banner(find);
const numbers = new Numbers(find);
const news = new News(find, link.clock);
const prompts = new Prompts({ send, tell: (words) => news.toast(words), onChange: showSelection });
const objects = new ObjectList(find("#objects"), prompts);
const gestures = new Gestures(stage);

function send(command) {
  const isSent = link.isUp && link.send(command);
  if (!isSent) news.toast("There is no connection to the stream: nothing was sent.");
  return isSent;
}

function showSelection() {
  stage.selected = prompts.isNew ? null : prompts.selected;
  stage.drawMasks();
  objects.show(prompts.objects);
  const takesPrompts = prompts.kinds.length > 0;
  find("#add").hidden = !takesPrompts;
  find("#add").setAttribute("aria-pressed", String(prompts.isNew));
  find("#hint").textContent = hint(takesPrompts);
  document.body.classList.toggle("armed", takesPrompts && prompts.isArmed);
}

function hint(takesPrompts) {
  if (!takesPrompts) return prompts.objects.length > 0 ? "" : "The model finds its structures by itself.";
  if (prompts.isNew) return "New object: click on it, or drag a box around it.";
  return prompts.objects.length > 0 ? "" : "Click on a structure, or drag a box around it.";
}

function showStates() {
  stage.expire();
  const current = states.now();
  stage.allowMasks(current.every((one) => one.masks));
  objects.showSizes(stage.isShowingMasks);
  if (banner.show(current) && current[0].level === "danger") find("#help").close();
  const held = String(current.some((one) => one.name === "held"));
  find("#hold").setAttribute("aria-pressed", held);
  find("#hold span").textContent = held === "true" ? "Let run" : "Hold";
}

link.addEventListener("hello", ({ detail }) => {
  states.restart();
  stage.forget();
  numbers.reset();
  numbers.deadline = detail.deadline_s ? detail.deadline_s * 1000 : null;
  prompts.kinds = detail.prompts.filter((kind) => kind !== "mask");
  objects.mostName = detail.most_name;
  prompts.forget();
  if (detail.notice) find("#notice").textContent = detail.notice;
  states.about = [detail.title, detail.source].filter(Boolean).join(" · ");
  document.title = `${detail.source || "stream"} – samedge`;
  showStates();
});

link.addEventListener("frame", ({ detail: frame }) => {
  const { header } = frame;
  const left = header.remaining_ms;
  const deadline = left === null ? Infinity : link.clock.here(header.sent_ms) + left;
  numbers.addLatencies(header.drawn);
  numbers.streamDrops = header.drops;
  numbers.skipped = header.skipped;
  news.add(header.alarms);
  stage.show(frame, deadline).catch(() => {
    news.toast("A picture came damaged and was not shown.");
    link.send({ drawn: header.number, hidden: true });
  });
});

stage.addEventListener("drawn", ({ detail: { header, isHidden } }) => {
  link.send({ drawn: header.number, hidden: isHidden });
  states.hear(header.states, header.at_ms);
  states.captured = header.captured_ms;
  if (header.new) numbers.addDrawn();
  prompts.update(header.objects, [header.width, header.height]);
  objects.show(header.objects);
  find("#hint").textContent = hint(prompts.kinds.length > 0);
  showStates();
});

link.addEventListener("status", ({ detail }) => {
  states.hear(detail.states, detail.at_ms);
  numbers.streamDrops = detail.drops;
  news.add(detail.alarms);
  find("#record").setAttribute("aria-pressed", String(detail.recording));
  find("#record span").textContent = detail.recording ? "Recording" : "Record";
  showStates();
});

link.addEventListener("end", ({ detail }) => {
  states.end = detail;
  showStates();
});

link.addEventListener("refused", ({ detail }) => news.toast(detail));

link.addEventListener("down", ({ detail }) => {
  states.reason = detail;
  showStates();
});

gestures.addEventListener("point", ({ detail }) => prompts.point(detail));
gestures.addEventListener("box", ({ detail }) => prompts.box(detail));

const isPressed = (where) => find(where).getAttribute("aria-pressed") === "true";
const actions = {
  select: (place) => prompts.selectPlace(place),
  begin: () => prompts.beginNew(!prompts.isNew),
  remove: () => prompts.remove(),
  hold: () => send({ command: "hold", on: !isPressed("#hold") }),
  record: () => send({ command: "record", on: !isPressed("#record") }),
  less: () => setFill(Number(find("#opacity").value) - FILL_STEP),
  more: () => setFill(Number(find("#opacity").value) + FILL_STEP),
  help: () => find("#help").showModal(),
  leave: () => gestures.cancel() || prompts.beginNew(false),
};

function setFill(percent) {
  const slider = find("#opacity");
  slider.value = percent;
  find("#opacity-value").textContent = `${slider.value} %`;
  stage.fill = Number(slider.value) / 100;
  stage.drawMasks();
}

listenToKeys(actions);
find("#hold").addEventListener("click", actions.hold);
find("#record").addEventListener("click", actions.record);
find("#help-button").addEventListener("click", actions.help);
find("#add").addEventListener("click", actions.begin);
find("#opacity").addEventListener("input", (event) => setFill(event.target.value));

setInterval(showStates, LOOK_MS);
setInterval(() => numbers.show(), NUMBERS_MS);
setFill(find("#opacity").value);
showSelection();
showStates();
link.connect();
