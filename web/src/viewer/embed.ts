/**
 * The player as the demo page shows it, in a frame: tells the page above how it is doing, and writes notes (progress of
 * titles that exist only for this) so that the page can ask afterwards whether every acknowledged write is still there.
 */
import { type Client, randomId } from "../sdk";
import { statistics } from "./statistics";

export interface Note {
  id: string;
  pos_s: number;
  at: number;
  region: string;
}

export interface Report {
  kind: "eisbach-report";
  state: string;
  currentTime: number;
  bufferS: number;
  origin: string;
  region: string;
  cell: string;
  apiRegion: string;
  stalls: { at: number; ms: number }[];
  standingMs: number;
  firstFrameMs: number | null;
  player: string;
  acknowledged: Note[];
  refused: number;
}

export interface Verified {
  kind: "eisbach-verified";
  asked: number;
  /** Notes that no region has. */
  missing: string[];
  /** Region -> how many of the notes it has; null when it does not answer. */
  regions: Record<string, number | null>;
}

const EVERY_MS = 250;
const NOTE_EVERY_MS = 2000;
const NOTES_MAX = 200;

export function reportToParent(client: Client): void {
  if (window.parent === window) return;
  const notes: Note[] = [];
  let refused = 0;
  let writing = false;
  let verifying = false;
  const run = randomId().toLowerCase().replace(/[^a-z0-9]/g, "").slice(0, 8);
  const post = (message: Report | Verified): void => window.parent.postMessage(message, "*"); // nothing secret in it

  setInterval(() => {
    const s = statistics(client);
    post({
      kind: "eisbach-report", state: s.state, currentTime: s.currentTime, bufferS: Math.max(0, s.bufferedEnd - s.currentTime),
      origin: s.origin, region: s.region, cell: s.cell, apiRegion: s.apiRegion, stalls: s.stalls.slice(-20).map(({ at, ms }) => ({ at, ms })),
      standingMs: s.standingMs, firstFrameMs: s.firstFrameMs, player: s.player, acknowledged: notes, refused,
    });
  }, EVERY_MS);

  const note = async (): Promise<void> => {
    if (writing || notes.length >= NOTES_MAX) return;
    writing = true;
    const pos_s = notes.length + 1;
    const id = `note-${run}-${pos_s}`;
    try {
      const { region } = await client.setProgress(id, pos_s, 1000);
      notes.push({ id, pos_s, at: Date.now(), region });
    } catch {
      refused += 1; // not acknowledged, so nothing is promised about it
    } finally {
      writing = false;
    }
  };

  let timer: ReturnType<typeof setInterval> | null = null;
  addEventListener("message", (event: MessageEvent<unknown>) => {
    if (event.source !== window.parent) return;
    const asked = (event.data as { kind?: unknown } | null)?.kind;
    if (asked === "eisbach-write" && timer === null) {
      timer = setInterval(() => void note(), NOTE_EVERY_MS);
      void note();
    }
    if (asked === "eisbach-rest" && timer !== null) {
      clearInterval(timer);
      timer = null;
    }
    if (asked === "eisbach-verify" && !verifying) {
      verifying = true;
      void verify(client, [...notes])
        .then(post)
        .finally(() => {
          verifying = false;
        });
    }
  });
}

/** Reads every note back, from each region by itself. */
async function verify(client: Client, notes: readonly Note[]): Promise<Verified> {
  const found: Record<string, number | null> = {};
  const seen = new Set<string>();
  for (const endpoint of client.endpoints()) {
    found[endpoint.region] = 0;
    for (const { id, pos_s } of notes) {
      try {
        const there = await client.progress(id, endpoint);
        if (there?.pos_s !== pos_s) continue;
        seen.add(id);
        found[endpoint.region] = (found[endpoint.region] ?? 0) + 1;
      } catch {
        found[endpoint.region] = null;
        break;
      }
    }
  }
  return { kind: "eisbach-verified", asked: notes.length, missing: notes.filter((n) => !seen.has(n.id)).map((n) => n.id), regions: found };
}
