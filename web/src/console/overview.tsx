/** The console's first page: who is hurt, and then everything that runs. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Change, ProcessRow, Status } from "../ui/live";
import { ago } from "../ui/live";
import { SmallChart } from "./chart";
import type { History } from "./history";
import { State } from "./state";

interface Props {
  status: Status;
  history: History;
  changes: Change[];
  theme: string;
  why: (target: string) => void;
}

function lagText(ms: number | null): string {
  if (ms === null) return "–";
  return ms < 10_000 ? `${Math.round(ms)} ms` : ago(0, ms);
}

export function Overview({ status, history, changes, theme, why }: Props): JSX.Element {
  const version = `${history.lag.times.at(-1) ?? 0} ${theme}`;
  return (
    <>
      <Sentence status={status} why={why} />
      <section class="regions-grid" aria-label="Regions">
        {status.regions.map((r) => <RegionCard key={r.name} name={r.name} status={status} why={why} />)}
      </section>
      <section class="charts" aria-label="Last five minutes">
        <SmallChart name="Requests" unit="/s" chart={history.requests} version={version} />
        <SmallChart name="Twin lag" unit="ms" chart={history.lag} version={version} />
        <SmallChart name="Hub backlog" unit="events" chart={history.backlog} version={version} />
      </section>
      <div class="two">
        <Twins status={status} />
        <Jobs status={status} />
      </div>
      <Spokes status={status} />
      <Processes status={status} why={why} />
      <section aria-labelledby="recent">
        <h2 id="recent">Latest changes</h2>
        <Changes changes={changes.slice(0, 8)} />
        {changes.length > 8 && <p class="more"><a href="#/changes">All changes</a></p>}
      </section>
    </>
  );
}

/** The words of `eisbach status`, each once: what it says of something that stands open is a line of its own, with where and what to do. */
export function Sentence({ status, why }: { status: Status; why: (target: string) => void }): JSX.Element {
  const hurt = status.hurt.length > 0;
  const open = [
    ...status.out.map((o) => ({ ...o, word: o.how, target: `region/${o.region}` })),
    ...status.frozen.map((f) => ({ ...f, word: "frozen" })),
    ...status.unfinished.map((u) => ({ ...u, word: "open", target: u.target || `region/${u.region}` })),
  ];
  return (
    <section class={`sentence ${hurt ? "hurt" : open.length > 0 ? "open" : "well"}`} role="status" aria-label="Who is hurt">
      <p class="said">{status.who}</p>
      {open.length > 0 && (
        <ul class="ends">
          {open.map((one, n) => (
            <li key={`${one.word} ${one.target} ${n}`}>
              <p class="end-where"><State state={one.word} /><button class="link" onClick={() => why(one.target)}>{one.target}<span class="hidden-label">: explain</span></button></p>
              <p>{one.sentence}</p>
              <p class="meta">what to do: <code>{one.next}</code></p>
            </li>
          ))}
        </ul>
      )}
      <p class="meta">
        Stage <b>{status.stage}</b> · up {ago(status.started_ms, status.now_ms)}
        {status.next !== "" && <> · next: <code>{status.next}</code></>}
      </p>
    </section>
  );
}

function RegionCard({ name, status, why }: { name: string; status: Status; why: (t: string) => void }): JSX.Element {
  const region = status.regions.find((r) => r.name === name);
  const cells = status.cells.filter((c) => c.region === name);
  const out = status.out.find((o) => o.region === name);
  const frozen = (cell: string): number => status.frozen.find((f) => f.target === `cell/${cell}`)?.slots.length ?? 0;
  if (!region) return <></>;
  return (
    <article class="region">
      <header>
        <h2>{name}</h2>
        <span class="region-state">{out && <State state={out.how} />}<State state={region.state} /></span>
      </header>
      <p class="addresses"><code>{bare(region.edge)}</code> calls · <code>{bare(region.origin)}</code> media</p>
      <ul class="cells">
        {cells.map((c) => (
          <li key={c.id}>
            <button class={`cell ${c.state}`} onClick={() => why(`cell/${c.id}`)}>
              <span class="cell-name">{c.id.split("/")[1]}<State state={c.state} bare /><span class="hidden-label">{c.state}, in {name}; explain</span></span>
              <span class="cell-group">{c.group}</span>
              <span class="cell-facts"><b>{c.requests_per_s === null || c.requests_per_s === undefined ? "–" : c.requests_per_s.toFixed(c.requests_per_s < 10 ? 1 : 0)}</b>/s · {c.slots ?? "–"} slots</span>
              {frozen(c.id) > 0 && <span class="cell-facts"><State state={`${frozen(c.id)} frozen`} /></span>}
            </button>
          </li>
        ))}
      </ul>
    </article>
  );
}

function Twins({ status }: { status: Status }): JSX.Element {
  return (
    <section aria-labelledby="twins">
      <h2 id="twins">Twins</h2>
      {status.replication.length === 0 ? <p class="empty">One region, so there is no twin.</p> : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Twins, table">
          <table class="twins">
            <thead><tr><th scope="col">Pulls from → to</th><th scope="col" class="n">Lag</th><th scope="col" class="n">Ops behind</th><th scope="col" class="n">Slots that differ</th></tr></thead>
            <tbody>
              {status.replication.map((l) => (
                <tr key={`${l.from} ${l.to}`}><th scope="row">{l.from} → {l.to}</th><td class={`n ${l.lag_ms === null || l.lag_ms > 1000 ? "warn" : ""}`}>{lagText(l.lag_ms)}</td><td class="n">{l.ops_behind ?? "–"}</td><td class={`n ${l.differing ? "warn" : ""}`}>{l.differing ?? "–"}</td></tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Jobs({ status }: { status: Status }): JSX.Element {
  return (
    <section aria-labelledby="jobs">
      <h2 id="jobs">Jobs</h2>
      {status.jobs.length === 0 ? <p class="empty">Nothing to do.</p> : (
        <ul class="jobs">
          {status.jobs.map((j) => (
            <li key={`${j.region} ${j.asset} ${j.kind}`}>
              <span class="job-name">{j.kind} <b>{j.asset}</b> <span class="muted">{j.region || "single"}</span></span>
              <State state={j.state} />
              <span class="bar" role="progressbar" aria-label={`${j.kind} ${j.asset}`} aria-valuemin={0} aria-valuemax={j.total} aria-valuenow={j.done}><span style={{ width: `${j.total > 0 ? (j.done / j.total) * 100 : 0}%` }} /></span>
              <span class="n">{j.done}/{j.total}</span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Spokes({ status }: { status: Status }): JSX.Element {
  return (
    <section aria-labelledby="hub">
      <h2 id="hub">Hub and spokes</h2>
      {status.hub.length === 0 ? <p class="empty">This stage has no hub.</p> : (
        <ul class="spokes">
          {status.hub.map((h) => (
            <li key={`${h.region} ${h.spoke}`} class={(h.dead_letters ?? 0) > 0 ? "bad" : (h.backlog ?? 0) > 0 ? "warn" : ""}>
              <span class="spoke-name">{h.spoke}<span class="muted">{h.region || "single"}</span></span>
              <span class="spoke-facts">
                <span><b>{h.backlog ?? "–"}</b> waiting</span>
                {(h.backlog ?? 0) > 0 && h.oldest_ms !== null && <span>oldest {(h.oldest_ms / 1000).toFixed(1)} s</span>}
                <span><b>{h.dead_letters ?? "–"}</b> dead</span>
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

const RANK: Record<string, number> = { down: 0, hung: 1, error: 1, truncate: 1, slow: 1, restarting: 2, unready: 2, starting: 3, waiting: 3, stopped: 4, ready: 5 };

function Processes({ status, why }: { status: Status; why: (t: string) => void }): JSX.Element {
  const [word, setWord] = useState("");
  const all = status.processes.filter((p) => p.target.includes(word.trim()));
  const rows = [...all].sort((a, b) => rank(a) - rank(b) || a.region.localeCompare(b.region) || a.target.localeCompare(b.target));
  return (
    <section aria-labelledby="processes">
      <div class="head">
        <h2 id="processes">Processes <span class="muted">{status.processes.filter((p) => p.state === "ready").length} of {status.processes.length} ready</span></h2>
        <input type="search" placeholder="Filter" aria-label="Filter processes by name" value={word} onInput={(e) => setWord(e.currentTarget.value)} />
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-label="Processes, table">
        <table>
          <thead><tr><th scope="col">Target</th><th scope="col">State</th><th scope="col" class="n">Requests</th><th scope="col" class="n wide">Since</th><th scope="col" class="n">Restarts</th><th scope="col" class="n wide">Pid</th></tr></thead>
          <tbody>
            {rows.map((p) => (
              <tr key={p.target}>
                <th scope="row"><button class="link" onClick={() => why(p.target)}>{p.target}</button></th>
                <td><State state={p.state} /></td>
                <td class="n">{p.requests_per_s === null || p.requests_per_s === undefined ? "–" : `${p.requests_per_s.toFixed(1)} /s`}</td>
                <td class="n wide">{ago(p.since_ms, status.now_ms)}</td>
                <td class={`n ${p.restarts > 0 ? "warn" : ""}`}>{p.restarts}</td>
                <td class="n wide">{p.pid ?? "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

const rank = (p: ProcessRow): number => RANK[p.state] ?? 2;
const bare = (url: string): string => url.replace(/^https?:\/\//, "");

export function Changes({ changes }: { changes: Change[] }): JSX.Element {
  if (changes.length === 0) return <p class="empty">Nothing has changed yet.</p>;
  return (
    <ol class="changes">
      {changes.map((c) => (
        <li key={`${c.at_ms} ${c.target} ${c.to}`}>
          <time dateTime={new Date(c.at_ms).toISOString()}>{new Date(c.at_ms).toLocaleTimeString()}</time>
          <span class="change-target">{c.target}</span>
          <span class="change-step"><State state={c.from} bare /> {c.from} → <State state={c.to} bare /> <b>{c.to}</b></span>
          <span class="muted">{c.why}</span>
        </li>
      ))}
    </ol>
  );
}
