/** Server-sent events of the supervisor: a whole status first, then patches at the top level (docs/internals.md, Console). */
import { useEffect, useState } from "preact/hooks";

export interface Fault { target: string; kind: string; since_ms: number; other: string }
export interface Change { at_ms: number; target: string; from: string; to: string; why: string }
export interface Region { name: string; edge: string; origin: string; state: string }
export interface ProcessRow { target: string; kind: string; region: string; pid: number | null; state: string; url: string; since_ms: number; restarts: number; requests_per_s: number | null }
export interface CellRow { id: string; region: string; group: string; slots: number | null; state: string; version: string; requests_per_s?: number | null }
export interface Replication { from: string; to: string; lag_ms: number | null; ops_behind: number | null; differing?: number | null }
export interface HubRow { region: string; spoke: string; backlog: number | null; oldest_ms: number | null; dead_letters: number | null }
/** Something that stands open though processes may be ready: the words of `eisbach status`, where it is, and the command that goes on. */
export interface Unfinished { region: string; sentence: string; next: string; target?: string }
export interface Frozen extends Unfinished { target: string; slots: string[]; since_ms: number }
export interface Out extends Unfinished { how: string; since_ms: number | null }
export interface JobRow { region: string; asset: string; kind: string; done: number; total: number; state: string }

export interface Status {
  ready: boolean;
  stage: string;
  front: string;
  sentence: string;
  who: string;
  hurt: string[];
  next: string;
  unfinished: Unfinished[];
  frozen: Frozen[];
  out: Out[];
  rehearsal: boolean;
  now_ms: number;
  started_ms: number;
  regions: Region[];
  processes: ProcessRow[];
  cells: CellRow[];
  replication: Replication[];
  hub: HubRow[];
  jobs: JobRow[];
  faults: Fault[];
  demo: { state: string; done: number; total: number; detail: string };
}

export interface Live {
  status: Status | null;
  changes: Change[];
  /** The stream is open now. */
  connected: boolean;
}

const CHANGES_KEPT = 200;

/** Follows the platform for as long as the page is open; the browser reconnects by itself. */
export function useLive(onStatus?: (status: Status) => void): Live {
  const [live, setLive] = useState<Live>({ status: null, changes: [], connected: false });
  useEffect(() => {
    const source = new EventSource("/ops/events");
    let status: Status | null = null;
    const take = (next: Status): void => {
      status = next;
      onStatus?.(next);
      setLive((l) => ({ ...l, status: next, connected: true }));
    };
    source.addEventListener("status", (e) => take(JSON.parse((e as MessageEvent<string>).data) as Status));
    source.addEventListener("patch", (e) => {
      if (status) take({ ...status, ...(JSON.parse((e as MessageEvent<string>).data) as Partial<Status>) });
    });
    source.addEventListener("change", (e) => {
      const change = JSON.parse((e as MessageEvent<string>).data) as Change;
      setLive((l) => ({ ...l, changes: [change, ...l.changes].slice(0, CHANGES_KEPT) }));
    });
    source.onerror = () => setLive((l) => ({ ...l, connected: false }));
    void fetch("/ops/changes")
      .then((r) => (r.ok ? (r.json() as Promise<{ changes: Change[] }>) : { changes: [] }))
      .then(({ changes }) => setLive((l) => ({ ...l, changes: [...l.changes, ...changes].slice(0, CHANGES_KEPT) })))
      .catch(() => undefined); // the stream tells what happens from now on
    return () => source.close();
  }, []);
  return live;
}

export interface Session { operator: boolean; rehearsal: boolean }

export async function session(): Promise<Session> {
  try {
    const answer = await fetch("/ops/session");
    if (answer.ok) return (await answer.json()) as Session;
  } catch {
    // The supervisor is not there; then nothing can be pressed either.
  }
  return { operator: false, rehearsal: false };
}

/** A call that changes something. Raises with what the supervisor said. */
export async function operate<T = unknown>(path: "/ops/faults" | "/ops/heal", body: object): Promise<T> {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const said = (await answer.json().catch(() => ({}))) as { detail?: string; title?: string };
  if (!answer.ok) throw new Error(said.detail ?? said.title ?? `HTTP ${answer.status}`);
  return said as T;
}

export function ago(ms: number, now: number): string {
  const s = Math.max(0, Math.round((now - ms) / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}
