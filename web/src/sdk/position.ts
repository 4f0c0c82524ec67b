/**
 * Read-your-writes position: `{origin: [epoch, seq]}` of the viewer's slot. Merged, never replaced: an answer from the
 * region that lags must not make the client forget what it has already seen.
 */
export type Position = Readonly<Record<string, readonly [epoch: number, seq: number]>>;

export function mergePositions(a: Position, b: Position): Position {
  const merged: Record<string, readonly [number, number]> = { ...a };
  for (const [origin, [epoch, seq]] of Object.entries(b)) {
    const known = merged[origin];
    if (known === undefined || epoch > known[0] || (epoch === known[0] && seq > known[1])) merged[origin] = [epoch, seq];
  }
  return merged;
}

/** A position header, or null when it is not one: a bad header must not break a good answer. */
export function parsePosition(text: string | null): Position | null {
  if (!text) return null;
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof found !== "object" || found === null || Array.isArray(found)) return null;
  const position: Record<string, readonly [number, number]> = {};
  for (const [origin, at] of Object.entries(found)) {
    if (!Array.isArray(at) || at.length !== 2 || !at.every((n) => Number.isSafeInteger(n) && n >= 0)) return null;
    position[origin] = [at[0] as number, at[1] as number];
  }
  return position;
}
