/** The pictures on the scrub bar: a sprite sheet and a WebVTT file that says which tile belongs to which second. */
export interface Tile {
  startS: number;
  endS: number;
  url: string;
  x: number;
  y: number;
  width: number;
  height: number;
}

const CUE = /(?:(\d+):)?(\d{2}):(\d{2}\.\d{3})\s+-->\s+(?:(\d+):)?(\d{2}):(\d{2}\.\d{3})[^\n]*\n([^\n]+)/g;

export function parseThumbnails(text: string, base: string): Tile[] {
  const tiles: Tile[] = [];
  for (const cue of text.replace(/\r/g, "").matchAll(CUE)) {
    const [, h1, m1, s1, h2, m2, s2, line = ""] = cue;
    const [file = "", fragment = ""] = line.trim().split("#xywh=");
    const [x, y, width, height] = fragment.split(",").map(Number);
    if (![x, y, width, height].every((n) => n !== undefined && Number.isFinite(n))) continue;
    tiles.push({
      startS: Number(h1 ?? 0) * 3600 + Number(m1) * 60 + Number(s1),
      endS: Number(h2 ?? 0) * 3600 + Number(m2) * 60 + Number(s2),
      url: new URL(file, base).href,
      x: x as number,
      y: y as number,
      width: width as number,
      height: height as number,
    });
  }
  return tiles;
}

export function tileAt(tiles: readonly Tile[], seconds: number): Tile | null {
  return tiles.find((t) => t.startS <= seconds && seconds < t.endS) ?? null;
}

/** From the first origin that has them; without thumbnails the scrub bar simply has none. */
export async function loadThumbnails(urls: readonly string[]): Promise<Tile[]> {
  for (const url of urls) {
    try {
      const answer = await fetch(url, { signal: AbortSignal.timeout(4000) });
      if (answer.ok) return parseThumbnails(await answer.text(), url);
    } catch {
      // The next origin.
    }
  }
  return [];
}
