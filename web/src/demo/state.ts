/** What the demo knows of one side: what the frame reports, whether its server answers, and how it fared since the fault. */
import { useEffect, useReducer, useRef } from "preact/hooks";
import type { Report, Verified } from "../viewer/embed";

export interface SideConfig {
  label: string;
  stage: string;
  front: string;
  regions: { name: string; edge: string; origin: string }[];
  break: string;
}

export interface SideState {
  report: Report | null;
  /** Nothing was heard of the frame for a while, or its server refuses. */
  unreachable: boolean;
  playedSinceFault: number;
  gapsSinceFault: number;
  writtenSinceFault: number;
  verified: Verified | null;
}

export interface SideHandle {
  state: SideState;
  frame: { current: HTMLIFrameElement | null };
  reload: () => void;
  /** Rises with every reload. */
  round: number;
}

export const EMPTY: SideState = { report: null, unreachable: false, playedSinceFault: 0, gapsSinceFault: 0, writtenSinceFault: 0, verified: null };

const PROBE_EVERY_MS = 1000;
const GAP_MS = 300;
const VERIFY_AFTER_MS = 4000;

interface Track {
  state: SideState;
  /** Wall clock and media clock of the last report, to add up what was played. */
  last: { at: number; media: number } | null;
  round: number;
  /** Since the fault, of pages that were reloaded since: a new page begins to count anew. */
  gapsBefore: number;
}

export function useSide(config: SideConfig | null, brokenAt: number | null, healedAt: number | null): SideHandle {
  const frame = useRef<HTMLIFrameElement | null>(null);
  const track = useRef<Track>({ state: EMPTY, last: null, round: 0, gapsBefore: 0 });
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  const front = config?.front;

  useEffect(() => {
    const heard = (event: MessageEvent<unknown>): void => {
      if (!frame.current || event.source !== frame.current.contentWindow || event.origin !== originOf(front)) return;
      const message = event.data as Report | Verified | null;
      if (message?.kind === "eisbach-report") track.current = advance(track.current, message, brokenAt);
      if (message?.kind === "eisbach-verified") track.current.state = { ...track.current.state, verified: message };
      redraw(0);
    };
    addEventListener("message", heard);
    return () => removeEventListener("message", heard);
  }, [front, brokenAt]);

  useEffect(() => {
    if (!front) return;
    const timer = setInterval(() => {
      // Only whether anybody answers counts; what they say is not readable here, and need not be.
      fetch(`${front}/healthz`, { mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(2000) }).then(
        () => set(false),
        () => set(true),
      );
      const set = (unreachable: boolean): void => {
        if (track.current.state.unreachable === unreachable) return;
        // A frame that was loaded while nobody answered shows the browser's error page, and no script of ours runs there.
        const lost = !unreachable && track.current.state.report === null;
        track.current = { ...track.current, round: track.current.round + (lost ? 1 : 0), state: { ...track.current.state, unreachable } };
        redraw(0);
      };
    }, PROBE_EVERY_MS);
    return () => clearInterval(timer);
  }, [front]);

  useEffect(() => {
    // Only to a page that has spoken: an empty frame or the browser's error page is of another origin, and is warned of.
    const send = (kind: string): void => {
      if (front && track.current.state.report !== null) frame.current?.contentWindow?.postMessage({ kind }, originOf(front));
    };
    if (brokenAt !== null) {
      track.current.last = null;
      track.current.gapsBefore = 0;
      track.current.state = { ...track.current.state, playedSinceFault: 0, gapsSinceFault: 0, verified: null };
      send("eisbach-write");
      const timer = setInterval(() => send("eisbach-write"), 2000); // a frame that was reloaded has forgotten
      return () => clearInterval(timer);
    }
    send("eisbach-rest");
    if (healedAt === null) return;
    const timer = setInterval(() => send("eisbach-verify"), VERIFY_AFTER_MS);
    return () => clearInterval(timer);
  }, [front, brokenAt, healedAt]);

  const reload = (): void => {
    const { state } = track.current;
    const standing = brokenAt !== null && (state.report?.standingMs ?? 0) >= GAP_MS ? 1 : 0;
    track.current = { ...track.current, round: track.current.round + 1, last: null, gapsBefore: state.gapsSinceFault + standing, state: { ...state, report: null } };
    redraw(0);
  };
  return { state: track.current.state, frame, reload, round: track.current.round };
}

function advance(track: Track, report: Report, brokenAt: number | null): Track {
  const now = Date.now();
  const { state, last } = track;
  let { playedSinceFault } = state;
  if (brokenAt !== null && last !== null) {
    const moved = report.currentTime - last.media;
    const passed = (now - last.at) / 1000;
    // A jump to somewhere else is not playing.
    if (moved > 0 && moved < passed + 1) playedSinceFault += moved;
  }
  const gapsSinceFault = brokenAt === null ? 0 : track.gapsBefore + report.stalls.filter((s) => s.at + s.ms >= brokenAt).length;
  const writtenSinceFault = brokenAt === null ? state.writtenSinceFault : report.acknowledged.filter((n) => n.at >= brokenAt).length;
  return { ...track, last: { at: now, media: report.currentTime }, state: { ...state, report, playedSinceFault, gapsSinceFault, writtenSinceFault } };
}

function originOf(url: string | undefined): string {
  return url ? new URL(url).origin : "";
}
