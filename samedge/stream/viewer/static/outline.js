// From the bits of a mask to the line around it.
//
// The line follows the edges between pixels inside and outside; it goes through the middles of
// these edges, smoothed a little. Fill and outline are the same path, so they agree at any zoom.

const MOST_EDGES = 150000; // specks: a line around each would take seconds and show nothing
const STEP_X = [1, 0, -1, 0]; // east, south, west, north
const STEP_Y = [0, 1, 0, -1];

// The path of a mask in frame px, or null where it has too many edges for one.
export function outline({ box, bits }) {
  const [x0, y0, x1, y1] = box;
  const width = x1 - x0;
  const height = y1 - y0;
  const { edges, count } = findEdges(bits, width, height);
  if (count > MOST_EDGES) return null;
  const path = new Path2D();
  for (let start = 0; start < edges.length; start++) {
    while (edges[start] !== 0) addRing(path, followed(edges, start, width + 1), x0, y0);
  }
  return path;
}

// Whether the pixel is inside, for every pixel, with a rim of one pixel around.
export function unpacked({ box, bits }) {
  const width = box[2] - box[0];
  const height = box[3] - box[1];
  const rowBytes = Math.ceil(width / 8);
  const inside = new Uint8Array((width + 2) * (height + 2));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      inside[(y + 1) * (width + 2) + x + 1] = (bits[y * rowBytes + (x >> 3)] >> (7 - (x & 7))) & 1;
    }
  }
  return inside;
}

// Per corner of a pixel, the directions in which an edge leaves it, as bits; the inside is on the
// right of each.
function findEdges(bits, width, height) {
  const inside = unpacked({ box: [0, 0, width, height], bits });
  const edges = new Uint8Array((width + 1) * (height + 1));
  const row = width + 2;
  let count = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const place = (y + 1) * row + x + 1;
      if (inside[place] === 0) continue;
      const corner = y * (width + 1) + x;
      if (inside[place - row] === 0) { edges[corner] |= 1; count++; }
      if (inside[place + 1] === 0) { edges[corner + 1] |= 2; count++; }
      if (inside[place + row] === 0) { edges[corner + width + 2] |= 4; count++; }
      if (inside[place - 1] === 0) { edges[corner + width + 1] |= 8; count++; }
    }
  }
  return { edges, count };
}

// Middles of the edges of one ring, [x, y, x, y, ...]; the edges are used up.
function followed(edges, start, row) {
  const middles = [];
  let corner = start;
  let way = lowestBit(edges[corner]);
  do {
    const x = corner % row;
    const y = (corner - x) / row;
    middles.push(x + STEP_X[way] / 2, y + STEP_Y[way] / 2);
    edges[corner] &= ~(1 << way);
    corner += STEP_X[way] + STEP_Y[way] * row;
    way = nextWay(edges[corner], way);
  } while (way >= 0);
  return middles;
}

// Right before straight before left: pixels that touch at a corner only are two rings.
function nextWay(ways, way) {
  for (const turn of [1, 0, 3]) {
    const next = (way + turn) & 3;
    if (ways & (1 << next)) return next;
  }
  return -1;
}

function lowestBit(ways) {
  return 31 - Math.clz32(ways & -ways);
}

function addRing(path, middles, x0, y0) {
  const ring = smoothed(smoothed(middles));
  path.moveTo(x0 + ring[0], y0 + ring[1]);
  for (let k = 2; k < ring.length; k += 2) path.lineTo(x0 + ring[k], y0 + ring[k + 1]);
  path.closePath();
}

// Each point a little towards the middle of its neighbours. Rings of single pixels stay as large as
// they are: there is nothing to smooth.
function smoothed(ring) {
  const count = ring.length;
  if (count < 24) return ring;
  const made = new Float32Array(count);
  for (let k = 0; k < count; k++) {
    made[k] = (ring[(k + count - 2) % count] + 2 * ring[k] + ring[(k + 2) % count]) / 4;
  }
  return made;
}
