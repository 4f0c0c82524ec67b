/** A state as a word with a mark; never by colour alone. */
import type { JSX } from "preact";

const GOOD = new Set(["ready", "up", "active", "done", "completed", "succeeded", "running", "leased"]);
const BAD = new Set(["down", "hung", "failed", "error", "truncate", "killed", "dead", "rejected", "lost"]);
const QUIET = new Set(["stopped", "waiting", "queued", "pending", ""]);

export function tone(state: string): "good" | "bad" | "warn" | "quiet" {
  if (GOOD.has(state)) return "good";
  if (BAD.has(state)) return "bad";
  return QUIET.has(state) ? "quiet" : "warn";
}

const MARKS = { good: "●", bad: "✕", warn: "▲", quiet: "○" };

export function State({ state, bare = false }: { state: string; bare?: boolean }): JSX.Element {
  const found = tone(state);
  return <span class={`state ${found}`}><span aria-hidden="true">{MARKS[found]}</span>{!bare && <span>{state}</span>}</span>;
}
