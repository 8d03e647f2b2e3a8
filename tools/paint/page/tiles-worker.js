// Fetches a tile and, where it holds classes or uncertainty, colours it; beside the page, so that painting is smooth.

const UNKNOWN = 255;                    // unpainted, or not predicted yet

// A pixel of an ImageData as one number: alpha, blue, green, red from the highest byte down.
const pack = ([red, green, blue], alpha = 255) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;

/** The colours of uncertainty: nothing where the network is sure, then violet, magenta, pink, white. */
function heat() {
  const stops = [[90, 0, 160], [214, 0, 140], [255, 110, 200], [255, 255, 255]];
  return Uint32Array.from({ length: 256 }, (_, value) => {
    const share = Math.sqrt(value / 255);                 // so that a little uncertainty is seen, too
    const at = share * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    const colour = stops[low].map((part, i) => Math.round(part + (stops[low + 1][i] - part) * (at - low)));
    return pack(colour, Math.round(255 * share));
  });
}
const HEAT = heat();

/** Colour grey values by a table of 256 packed colours. */
function coloured(values, width, height, table) {
  const picture = new ImageData(width, height);
  const out = new Uint32Array(picture.data.buffer);
  for (let i = 0; i < values.length; i++) out[i] = table[values[i]];
  return createImageBitmap(picture);
}

/** The pixels that touch another class, in their own class's colour, lightened; class 0 gets a shadow instead. */
function outlined(values, width, height, table) {
  const picture = new ImageData(width, height);
  const out = new Uint32Array(picture.data.buffer);
  const shadow = pack([0, 0, 0], 190);
  const light = table.map((colour) => colour && ((colour & 0xfefefe) >>> 1) + 0x7f7f7f + 0xff000000);
  const differs = (own, other) => other !== own && other !== UNKNOWN;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const own = values[i];
      if (own === UNKNOWN) continue;
      const border = (x > 0 && differs(own, values[i - 1])) || (x < width - 1 && differs(own, values[i + 1]))
        || (y > 0 && differs(own, values[i - width])) || (y < height - 1 && differs(own, values[i + width]));
      if (border) out[i] = own ? light[own] : shadow;
    }
  }
  return createImageBitmap(picture);
}

/** The borders between classes as lines, five numbers each: x0, y0, x1, y1, class. For zoomed-in views. */
function borders(values, width, height) {
  const lines = [];
  const scan = (outer, inner, index, step, put) => {
    for (let a = 0; a < outer; a++) {
      let begin = -1, kind = 0;
      for (let b = 0; b <= inner; b++) {
        const own = b < inner ? values[index(a, b)] : 0;
        const next = b < inner ? values[index(a, b) + step] : 0;
        const here = b < inner && own !== next && own !== UNKNOWN && next !== UNKNOWN ? Math.max(own, next) : 0;
        if (here === kind) continue;
        if (kind) put(a + 1, begin, b, kind);
        begin = b;
        kind = here;
      }
    }
  };
  scan(height - 1, width, (y, x) => y * width + x, width, (y, x0, x1, kind) => lines.push(x0, y, x1, y, kind));
  scan(width - 1, height, (x, y) => y * width + x, 1, (x, y0, y1, kind) => lines.push(x, y0, x, y1, kind));
  return Int16Array.from(lines);
}

async function load({ address, layer, level, colours }) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: ${response.status}`);
  const picture = await createImageBitmap(await response.blob(), { colorSpaceConversion: "none" });
  if (layer === "image") return { picture };

  const { width, height } = picture;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  const values = Uint8Array.from({ length: width * height }, (_, i) => pixels[4 * i]);
  if (layer === "uncertainty") return { picture: await coloured(values, width, height, HEAT) };

  const table = new Uint32Array(256);   // 0, transparent, where no class has the value
  colours.forEach((colour, index) => { table[index] = pack(colour); });
  const answer = { picture: await coloured(values, width, height, table) };
  if (layer === "prediction") {
    answer.outline = await outlined(values, width, height, table);
    if (level === 0) answer.lines = borders(values, width, height);
  }
  return answer;
}

self.onmessage = async ({ data }) => {
  try {
    const answer = await load(data);
    const moved = [answer.picture, answer.outline, answer.lines?.buffer].filter(Boolean);
    self.postMessage({ key: data.key, version: data.version, ...answer }, moved);
  } catch {
    self.postMessage({ key: data.key, version: data.version, failed: true });
  }
};
