/** What the demo claims, from what it knows; nothing here knows a page. */
import type { SideState } from "./state";

/** Over both pictures: claimed only once every write of every side has been read back. */
export function headline(broken: boolean, healed: boolean, sides: readonly SideState[]): string {
  if (broken) return "One of them noticed.";
  if (!healed) return "The same channel, twice. Break it.";
  const read = sides.flatMap(({ verified }) => (verified ? [verified] : []));
  if (read.some((v) => v.missing.length > 0)) return "Healed, but something is missing.";
  if (read.length < sides.length) return "Healed. Reading back what was written …";
  return read.some((v) => v.asked > 0) ? "Healed. Nothing was lost." : "Healed.";
}

/** Gaps of a side; a page that says nothing has none that are known, which is not none. */
export function gaps(state: SideState, brokenAt: number | null): string {
  if (state.report === null) return "–";
  const { standingMs, stalls } = state.report;
  if (standingMs >= 1000) return `${Math.round(standingMs / 1000)} s now`;
  return String(brokenAt === null ? stalls.length : state.gapsSinceFault);
}
