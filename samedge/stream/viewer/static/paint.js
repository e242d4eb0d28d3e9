// How masks and prompts look.

import { unpacked } from "./outline.js";

const RIM = "rgba(0, 0, 0, 0.8)"; // seen on bright tissue, as the line is in black cavities

// Draw an object's mask. `scale` is [across, down] from frame px to canvas px, `line` the width of
// a line in canvas px. A doubtful mask is a dashed outline alone.
export function paintMask(context, shape, { scale, line, fill, isSelected }) {
  const { object, mask, path } = shape;
  const colour = `rgb(${object.colour.join(", ")})`;
  if (path === null) return paintSpecks(context, mask, object.colour, scale, fill);
  const scaled = new Path2D();
  scaled.addPath(path, new DOMMatrix([scale[0], 0, 0, scale[1], 0, 0]));
  const isDoubtful = object.status === "doubtful";
  if (!isDoubtful && fill > 0) {
    context.globalAlpha = fill;
    context.fillStyle = colour;
    context.fill(scaled, "evenodd");
    context.globalAlpha = 1;
  }
  const width = isSelected ? line * 1.4 : line;
  context.lineJoin = "round";
  context.setLineDash(isDoubtful ? [line * 4, line * 3] : []);
  context.lineWidth = width + line * 0.9;
  context.strokeStyle = RIM;
  context.stroke(scaled);
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.stroke(scaled);
  context.setLineDash([]);
}

function paintSpecks(context, mask, colour, scale, fill) {
  const [x0, y0, x1, y1] = mask.box;
  const width = x1 - x0 + 2;
  const height = y1 - y0 + 2;
  const inside = unpacked(mask);
  const image = new ImageData(width, height);
  for (let k = 0; k < inside.length; k++) {
    if (inside[k]) image.data.set([...colour, 255 * Math.max(fill, 0.2)], k * 4);
  }
  const sheet = new OffscreenCanvas(width, height);
  sheet.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(sheet, (x0 - 1) * scale[0], (y0 - 1) * scale[1], width * scale[0], height * scale[1]);
}

// Draw what was asked about an object: its points and its box.
export function paintPrompt(context, object, { scale, line }) {
  const { points = [], labels = [], box = null } = object.prompt;
  const colour = `rgb(${object.colour.join(", ")})`;
  if (box) paintCorners(context, box, scale, line, colour);
  // A point lies in the middle of its pixel.
  points.forEach(([x, y], k) => paintPoint(context, (x + 0.5) * scale[0], (y + 0.5) * scale[1], line, colour, labels[k] === 1));
}

function paintPoint(context, x, y, line, colour, inside) {
  const radius = line * 3.2;
  const arm = radius * 0.55;
  disc(context, x, y, radius + line * 0.7, RIM);
  disc(context, x, y, radius, "white");
  disc(context, x, y, radius - line * 0.7, inside ? colour : "black");
  context.beginPath();
  context.moveTo(x - arm, y);
  context.lineTo(x + arm, y);
  if (inside) {
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
  }
  context.lineWidth = line * 0.8;
  context.strokeStyle = inside ? "black" : "white";
  context.stroke();
}

function disc(context, x, y, radius, colour) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
}

// The corners of a box: its sides would cover what it is about.
function paintCorners(context, box, scale, line, colour) {
  const [left, right] = [box[0] * scale[0], box[2] * scale[0]];
  const [top, bottom] = [box[1] * scale[1], box[3] * scale[1]];
  const arm = Math.min(line * 9, (right - left) / 3, (bottom - top) / 3);
  context.beginPath();
  for (const [x, y, dx, dy] of [[left, top, 1, 1], [right, top, -1, 1], [right, bottom, -1, -1], [left, bottom, 1, -1]]) {
    context.moveTo(x + dx * arm, y);
    context.lineTo(x, y);
    context.lineTo(x, y + dy * arm);
  }
  context.lineWidth = line * 1.9;
  context.strokeStyle = RIM;
  context.stroke();
  context.lineWidth = line;
  context.strokeStyle = colour;
  context.stroke();
}
