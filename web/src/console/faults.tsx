/** The page for breaking things. On its own, under a red banner, so that nobody breaks by mistake what they meant to operate. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { type Fault, type Session, type Status, ago, operate } from "../ui/live";
import { Sentence } from "./overview";

const KINDS: { kind: string; what: string }[] = [
  { kind: "kill", what: "crashes; is restarted" },
  { kind: "down", what: "crashes; stays down until healed" },
  { kind: "hang", what: "accepts and never answers" },
  { kind: "slow", what: "answers late" },
  { kind: "error", what: "answers 503" },
  { kind: "truncate", what: "breaks off in mid-answer" },
];
const EDGES = /^(edge|origin|region)\/|^single$/;

export function Faults({ status, who, why }: { status: Status; who: Session | null; why: (target: string) => void }): JSX.Element {
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const may = who?.operator === true && who.rehearsal && !busy;
  const run = async (path: "/ops/faults" | "/ops/heal", body: object): Promise<void> => {
    setBusy(true);
    setProblem("");
    try {
      await operate(path, body);
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <div class="red-banner" role="note"><strong>Rehearsal.</strong> What you press here really breaks: processes are killed, links are cut. It exists only in rehearsal mode, never in a deployment.</div>
      {who && !who.operator && <p class="only-watching">You are watching. Open the console link that <code>eisbach status</code> prints to press anything.</p>}
      {who?.operator && !who.rehearsal && <p class="only-watching">This platform was started without rehearsal mode: nothing can be broken here.</p>}
      <Sentence status={status} why={why} />
      {problem !== "" && <p class="problem" role="alert">{problem}</p>}
      <Active faults={status.faults} now={status.now_ms} may={may} heal={(body) => void run("/ops/heal", body)} />
      <Break status={status} may={may} inject={(body) => void run("/ops/faults", body)} />
      {status.regions.length > 1 && <Cut status={status} may={may} inject={(body) => void run("/ops/faults", body)} />}
    </>
  );
}

function Active({ faults, now, may, heal }: { faults: Fault[]; now: number; may: boolean; heal: (body: object) => void }): JSX.Element {
  return (
    <section aria-labelledby="active">
      <div class="head">
        <h2 id="active">Broken now</h2>
        <button class="button heal" disabled={!may || faults.length === 0} onClick={() => heal({})}>Heal everything</button>
      </div>
      {faults.length === 0 ? <p class="empty">Nothing is broken on purpose.</p> : (
        <ul class="active">
          {faults.map((f) => {
            const target = f.kind === "cut" && !f.target.startsWith("link/") ? `link/${f.target}/${f.other}` : f.target;
            return (
              <li key={`${f.kind} ${target}`}>
                <span><b>{f.kind}</b> {target} <span class="muted">for {ago(f.since_ms, now)}</span></span>
                <button class="button small" disabled={!may} onClick={() => heal({ target })} aria-label={`Heal ${target}`}>Heal</button>
              </li>
            );
          })}
        </ul>
      )}
    </section>
  );
}

function targets(status: Status): string[] {
  const regions = status.regions.map((r) => `region/${r.name}`);
  const processes = status.processes.map((p) => p.target).filter((t) => !["front", "console", "link"].includes(t));
  const spokes = status.hub.map((h) => `spoke/${h.region}/${h.spoke}`);
  return [...new Set([...regions, ...processes, ...spokes])];
}

function Break({ status, may, inject }: { status: Status; may: boolean; inject: (body: object) => void }): JSX.Element {
  const all = targets(status);
  const [target, setTarget] = useState("");
  const chosen = target || all[0] || "";
  return (
    <section aria-labelledby="break">
      <h2 id="break">Break</h2>
      <label class="field">
        <span>Target</span>
        <select value={chosen} onChange={(e) => setTarget(e.currentTarget.value)}>
          {["region", "cell", "hub", "edge", "origin", "spokes", "spoke", "worker", "control", "agent", "single"].map((kind) => {
            const some = all.filter((t) => t.split("/")[0] === kind);
            return some.length > 0 && <optgroup key={kind} label={kind}>{some.map((t) => <option key={t} value={t}>{t}</option>)}</optgroup>;
          })}
        </select>
      </label>
      <div class="kinds">
        {KINDS.map(({ kind, what }) => {
          const fits = !["error", "truncate"].includes(kind) || EDGES.test(chosen);
          return (
            <button key={kind} class="kind" disabled={!may || !fits} onClick={() => inject({ action: "fault", kind, target: chosen })}>
              <b>{kind}<span class="hidden-label"> {chosen}</span></b><span>{what}</span>
            </button>
          );
        })}
      </div>
      <p class="hint">The same from a shell: <code>eisbach fault down {chosen}</code></p>
    </section>
  );
}

function Cut({ status, may, inject }: { status: Status; may: boolean; inject: (body: object) => void }): JSX.Element {
  const names = status.regions.map((r) => r.name);
  const pairs = names.flatMap((a, n) => names.slice(n + 1).map((b) => [a, b] as const));
  return (
    <section aria-labelledby="cut">
      <h2 id="cut">Cut the wide-area link</h2>
      <p class="hint">Both regions go on serving; what they write waits for each other.</p>
      <div class="kinds">
        {pairs.map(([a, b]) => (
          <button key={`${a} ${b}`} class="kind" disabled={!may} onClick={() => inject({ action: "cut", target: a, other: b })}><b>cut</b><span>{a} ⇹ {b}</span></button>
        ))}
      </div>
    </section>
  );
}
