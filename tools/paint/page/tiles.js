// The tiles of the images and of what lies over them: which are here, which are on their way, which may go.

export const SIDE = 512;                // pixels of a tile
const KEPT = 160;                       // tiles: about 160 MB at most
const AT_ONCE = 4;                      // a browser opens six connections; the others are for strokes and the state
const AGAIN = 1500;                     // ms after which a tile that failed is asked for again

/** A cache of tiles; onLoad() is called when one has come. */
export function tileCache(onLoad) {
  const worker = new Worker("tiles-worker.js", { type: "module" });
  const tiles = new Map();              // key → {picture, outline, lines, version}; the most recently used last
  const coming = new Map();             // key → version
  const failed = new Map();             // key → when
  let wanted = [];

  worker.onmessage = ({ data: { key, ...tile } }) => {
    coming.delete(key);
    if (tile.failed) {
      failed.set(key, performance.now());
      setTimeout(onLoad, AGAIN);
    } else {
      close(tiles.get(key));
      tiles.delete(key);
      tiles.set(key, tile);
      failed.delete(key);
      for (const old of tiles.keys()) {
        if (tiles.size <= KEPT) break;
        close(tiles.get(old));
        tiles.delete(old);
      }
    }
    start();
    onLoad();
  };

  function close(tile) {
    tile?.picture.close();
    tile?.outline?.close();
  }

  function start() {
    while (coming.size < AT_ONCE && wanted.length) {
      const { key, version, ...rest } = wanted.shift();
      if (coming.has(key) || tiles.get(key)?.version === version) continue;
      coming.set(key, version);
      worker.postMessage({ key, version, ...rest });
    }
  }

  return {
    /** The tile, of whatever version, or undefined. */
    find(key) {
      const tile = tiles.get(key);
      if (tile) {                       // used now: the last to go
        tiles.delete(key);
        tiles.set(key, tile);
      }
      return tile;
    },
    isCurrent: (key, version) => tiles.get(key)?.version === version,
    /** Ask for these, [{key, version, address, layer, level, colours}], the most urgent first, and for no others. */
    want(list) {
      const now = performance.now();
      wanted = list.filter(({ key }) => !(now - failed.get(key) < AGAIN));
      start();
    },
  };
}
