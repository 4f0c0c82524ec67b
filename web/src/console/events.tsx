/** Operating the hub: the flow from cells to spokes, what could not be handled, and what to do with it. Not for breaking. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { type Session, type Status, ago } from "../ui/live";

interface Spoke { region: string; spoke: string; handled: number; backlog: number; oldest_ms: number; failures: number; dead_letters: number; paused: boolean; trouble: string | null }
interface Refused { region: string; file: string; why: string }
interface Letter { region: string; number: number; spoke: string; kind: string; event: string; subject: string; reason: string; at_ms: number; history: { at_ms: number; reason: string }[] }
interface Shown extends Letter { body?: unknown; stacks: string[] }

async function call<T>(path: string, body?: object): Promise<T> {
  const answer = await fetch(path, body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const said = (await answer.json().catch(() => ({}))) as { detail?: string };
  if (!answer.ok) throw new Error(said.detail ?? `HTTP ${answer.status}`);
  return said as T;
}

const EVERY_MS = 2000;

export function Events({ status, who }: { status: Status; who: Session | null }): JSX.Element {
  const [spokes, setSpokes] = useState<Spoke[] | null>(null);
  const [refused, setRefused] = useState<Refused[]>([]);
  const [letters, setLetters] = useState<Letter[]>([]);
  const [silent, setSilent] = useState<Record<string, string>>({});
  const [problem, setProblem] = useState("");
  const [open, setOpen] = useState<string | null>(null);
  const [done, setDone] = useState("");
  const operator = who?.operator === true;

  const refresh = async (): Promise<void> => {
    try {
      const [a, b] = await Promise.all([
        call<{ spokes: Spoke[]; refused: Refused[]; silent: Record<string, string> }>("/ops/spokes"),
        call<{ dead_letters: Letter[] }>("/ops/dead-letters"),
      ]);
      setSpokes(a.spokes); setRefused(a.refused); setSilent(a.silent); setLetters(b.dead_letters);
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
  };
  const act = async (path: string, body: object = {}, said = ""): Promise<void> => {
    setProblem(""); setDone("");
    try {
      await call(path, body);
      setDone(said);
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
    await refresh();
  };
  useEffect(() => {
    if (!operator) return undefined;
    void refresh();
    const timer = setInterval(() => void refresh(), EVERY_MS);
    return () => clearInterval(timer);
  }, [operator]);

  if (who && !operator) return <p class="only-watching">Events carry account ids. Open the console link that <code>eisbach status</code> prints to look at them.</p>;
  const regions = [...new Set((spokes ?? []).map((s) => s.region))];
  return (
    <>
      {problem !== "" && <p class="problem" role="alert">{problem}</p>}
      {Object.entries(silent).map(([region, why]) => <p key={region} class="problem">{region}: {why}</p>)}
      {refused.map((r) => <p key={`${r.region} ${r.file}`} class="problem" role="note"><b>{r.file}</b> was not loaded in {r.region}: {r.why}</p>)}
      {spokes === null && <p class="empty">Asking the spoke hosts …</p>}
      {regions.map((region) => <Flow key={region} region={region} status={status} spokes={(spokes ?? []).filter((s) => s.region === region)} act={act} />)}
      <section aria-labelledby="dead">
        <h2 id="dead" tabIndex={-1}>Dead letters</h2>
        <p class="done" role="status">{done}</p>
        {letters.length === 0 ? <p class="empty">Nothing was set aside.</p> : (
          <ul class="letters">
            {letters.map((l) => {
              const key = `${l.region}/${l.number}`;
              return (
                <li key={key}>
                  <div class="letter-head">
                    <button class="letter-name" aria-expanded={open === key} onClick={() => setOpen(open === key ? null : key)}>
                      <b>{l.spoke}</b> <span class="muted">{key}</span> <code>{l.subject}</code> <span class="muted">{ago(l.at_ms, status.now_ms)} ago, {l.history.length || 1} attempts</span>
                    </button>
                    <button class="button small heal" onClick={() => void act(`/ops/dead-letters/${key}/redrive`, {}, `${key} is at work again in ${l.spoke}; should it fail once more, it comes back here under a new number.`)} aria-label={`Redrive ${key}`}>Redrive</button>
                  </div>
                  <p class="reason">{l.reason}</p>
                  {open === key && <Look letter={key} drop={(reason) => void act(`/ops/dead-letters/${key}/drop`, { reason }, `${key} is given up: ${reason}`)} />}
                </li>
              );
            })}
          </ul>
        )}
      </section>
      <p class="hint">The same from a shell: <code>eisbach events spokes</code>, <code>eisbach events dead-letters</code>, <code>eisbach events tail</code></p>
    </>
  );
}

/** Many spokes push the list below the screen. */
function toDead(): void {
  const title = document.getElementById("dead");
  title?.scrollIntoView({ block: "center" });
  title?.focus({ preventScroll: true });
}

function Flow({ region, status, spokes, act }: { region: string; status: Status; spokes: Spoke[]; act: (path: string) => Promise<void> }): JSX.Element {
  const cells = status.cells.filter((c) => c.region === region);
  const hub = status.processes.find((p) => p.target === `hub/${region}`);
  return (
    <section aria-label={`Flow of ${region}`}>
      <h2>{region}</h2>
      <div class="flow">
        <ul class="flow-cells" aria-label="Cells">
          {cells.map((c) => <li key={c.id} class={c.state === "ready" ? "" : "bad"}>{c.id.split("/")[1]}</li>)}
        </ul>
        <span class="flow-arrow" aria-hidden="true">→</span>
        <p class={`flow-hub ${hub && hub.state !== "ready" ? "bad" : ""}`}><b>hub</b> <span class="muted">{hub?.state ?? "inside the process"}</span></p>
        <span class="flow-arrow" aria-hidden="true">→</span>
        <ul class="spokes flow-spokes" aria-label="Spokes">
          {spokes.map((s) => (
            <li key={s.spoke} class={s.trouble !== null || s.dead_letters > 0 ? "bad" : s.paused || s.backlog > 0 ? "warn" : ""}>
              <span class="spoke-name">{s.spoke}<button class="button small" onClick={() => void act(`/ops/spokes/${region}/${s.spoke}/${s.paused ? "resume" : "pause"}`)} aria-label={`${s.paused ? "Resume" : "Pause"} ${s.spoke} in ${region}`}>{s.paused ? "Resume" : "Pause"}</button></span>
              <span class="spoke-facts">
                <span><b>{s.handled}</b> handled</span>
                <span><b>{s.backlog}</b> waiting</span>
                {s.backlog > 0 && <span>oldest {(s.oldest_ms / 1000).toFixed(1)} s</span>}
                {s.dead_letters > 0
                  ? <button class="to-dead" onClick={toDead} aria-label={`${s.dead_letters} dead letters of ${s.spoke} in ${region}: go there`}><b>{s.dead_letters}</b> dead</button>
                  : <span><b>0</b> dead</span>}
              </span>
              {s.trouble !== null && <span class="reason">{s.trouble}</span>}
            </li>
          ))}
        </ul>
      </div>
    </section>
  );
}

function Look({ letter, drop }: { letter: string; drop: (reason: string) => void }): JSX.Element {
  const [shown, setShown] = useState<Shown | null>(null);
  const [problem, setProblem] = useState("");
  const [reason, setReason] = useState("");
  useEffect(() => {
    call<Shown>(`/ops/dead-letters/${letter}`).then(setShown, (error: unknown) => setProblem(String(error)));
  }, [letter]);
  if (problem !== "") return <p class="problem" role="alert">{problem}</p>;
  if (!shown) return <p class="empty">Fetching it …</p>;
  return (
    <div class="look">
      <pre tabIndex={0} aria-label="The event">{JSON.stringify(shown.body ?? "too large to show", null, 2)}</pre>
      {shown.stacks.at(-1) && <pre tabIndex={0} aria-label="Stack of the last attempt">{shown.stacks.at(-1)}</pre>}
      <form class="drop" onSubmit={(e) => { e.preventDefault(); drop(reason); }}>
        <label class="field"><span>Give it up, because</span><input value={reason} required onInput={(e) => setReason(e.currentTarget.value)} /></label>
        <button class="button small" disabled={reason.trim() === ""}>Drop</button>
      </form>
    </div>
  );
}
