// A frame's message, taken apart: see samedge/stream/viewer/message.py for its format.

const decoder = new TextDecoder();

export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const header = JSON.parse(decoder.decode(new Uint8Array(buffer, 4, length)));
  let start = 4 + length;
  const picture = new Blob([new Uint8Array(buffer, start, header.picture.bytes)], { type: "image/jpeg" });
  start += header.picture.bytes;
  const masks = header.objects.map((object) => {
    if (object.mask === null) return null;
    const bits = new Uint8Array(buffer, start, object.mask.bytes);
    start += object.mask.bytes;
    return { box: object.mask.box, bits };
  });
  return { header, picture, masks };
}
