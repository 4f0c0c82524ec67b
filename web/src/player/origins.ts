/**
 * The media origins of a playback, and which of them to ask first. One that failed is asked last for a while, whatever
 * it failed with: refused, silent, an error, or cut off in the middle.
 */
const SUSPECT_MS = 10_000;

export class Origins {
  private readonly suspectUntil = new Map<string, number>();
  private readonly known: string[] = [];

  constructor(private readonly now: () => number) {}

  add(url: string): void {
    const origin = originOf(url);
    if (origin !== "" && !this.known.includes(origin)) this.known.push(origin);
  }

  failed(url: string): void {
    this.suspectUntil.set(originOf(url), this.now() + SUSPECT_MS);
  }

  answered(url: string): void {
    this.suspectUntil.delete(originOf(url));
  }

  /**
   * The URLs, and the same paths on the other known origins: tokens in the path are valid in every region. Those of
   * suspect origins last; the order is stable otherwise.
   */
  spread(urls: readonly string[]): string[] {
    const first = urls[0];
    if (first === undefined || !this.known.includes(originOf(first))) return [...urls];
    const all = [...urls];
    for (const origin of this.known) {
      const there = first.replace(originOf(first), origin);
      if (!all.some((u) => originOf(u) === origin)) all.push(there);
    }
    return this.order(all);
  }

  order<T extends string>(urls: readonly T[]): T[] {
    const doubt = (u: string): number => ((this.suspectUntil.get(originOf(u)) ?? 0) > this.now() ? 1 : 0);
    return [...urls].sort((a, b) => doubt(a) - doubt(b));
  }
}

export function originOf(url: string): string {
  try {
    return new URL(url).origin;
  } catch {
    return "";
  }
}
