/** One side of the demo: the frame with the real player, and over it who serves it and how it fares. */
import type { JSX } from "preact";
import { Reload } from "../ui/icons";
import type { SideConfig, SideHandle, SideState } from "./state";
import { gaps } from "./words";

interface Props {
  config: SideConfig;
  channel: string | null;
  side: SideHandle;
  broken: number | null;
  healedAt: number | null;
  promise: string;
}

export function Side({ config, channel, side, broken, healedAt, promise }: Props): JSX.Element {
  const { state } = side;
  const standing = verdict(state, broken !== null);
  const src = channel === null ? "about:blank" : `${config.front}/?embed=1&muted=1&buffer=10&lang=en&round=${side.round}#/live/${encodeURIComponent(channel)}`;
  const id = `side-${config.stage}`;
  return (
    <section class={`stage ${standing.tone}`} aria-labelledby={id}>
      <div class="stage-head">
        <div>
          <h2 id={id}>{config.label}</h2>
          <p>{promise}</p>
        </div>
        <span class="verdict" role="status"><span class="dot" />{standing.words}</span>
      </div>
      <div class="screen">
        <iframe key={side.round} ref={(e) => { side.frame.current = e; }} src={src} title={`${config.label}: live channel`} allow="autoplay; fullscreen" />
        {standing.dark && <div class="dark"><p>{config.front.replace(/^https?:\/\//, "")} does not answer.</p></div>}
        <button class="button small" onClick={side.reload}><Reload />Reload</button>
      </div>
      {healedAt !== null && <Proof state={state} />}
      <Figures config={config} state={state} broken={broken} />
    </section>
  );
}

function verdict(state: SideState, broken: boolean): { words: string; tone: string; dark: boolean } {
  const playing = state.report?.state === "playing";
  const dark = state.unreachable && !playing;
  if (dark) return { words: state.report === null ? "dark, page and all" : "dark", tone: "bad", dark };
  if (playing) return { words: state.unreachable ? "playing what is left in the buffer" : broken ? "playing on" : "playing", tone: state.unreachable ? "warn" : "good", dark };
  if (state.report === null) return { words: "starting", tone: "", dark };
  return { words: state.report.state, tone: state.report.state === "loading" ? "" : "warn", dark };
}

function Figures({ config, state, broken }: { config: SideConfig; state: SideState; broken: number | null }): JSX.Element {
  const { report } = state;
  const origin = report?.origin.replace(/^https?:\/\//, "") ?? "";
  const buffer = report?.bufferS ?? 0;
  const playing = report?.state === "playing";
  return (
    <dl class="figures">
      <div>
        <dt>Picture from</dt>
        <dd>
          <span class="regions">
            {(config.regions.length > 0 ? config.regions.map((r) => r.name) : ["this node"]).map((r) => (
              <span key={r} class={`chip ${playing && (config.regions.length === 0 || report?.region === r) ? "on" : ""}`}>{r}</span>
            ))}
          </span>
        </dd>
        <dd><code>{origin || "–"}</code></dd>
      </div>
      <div><dt>Calls from</dt><dd><span class="chip plain">{report?.cell || "–"}</span></dd></div>
      <div><dt>Buffer</dt><dd class="number">{buffer.toFixed(1)} s<span class="meter" aria-hidden="true"><span style={{ width: `${Math.min(100, buffer * 10)}%` }} /></span></dd></div>
      <div><dt>Gaps ≥ 300 ms</dt><dd class="number">{gaps(state, broken)}</dd></div>
      <div><dt>Played since the fault</dt><dd class="number">{broken === null && state.playedSinceFault === 0 ? "–" : `${Math.round(state.playedSinceFault)} s`}</dd></div>
      <div><dt>Writes acknowledged</dt><dd class="number">{broken === null && state.writtenSinceFault === 0 ? "–" : state.writtenSinceFault}</dd></div>
    </dl>
  );
}

/** After healing: every write that was acknowledged in the fault, asked for by its id, in each region. */
function Proof({ state }: { state: SideState }): JSX.Element {
  const { verified } = state;
  if (!verified) return <p class="proof">Reading back what was written during the fault …</p>;
  if (verified.asked === 0) return <p class="proof">Nothing was acknowledged here during the fault, so there is nothing to lose and nothing to show.</p>;
  const regions = Object.entries(verified.regions).map(([region, n]) => `${region} has ${n === null ? "no answer yet" : n}`);
  const whole = verified.missing.length === 0;
  return (
    <p class={`proof ${whole ? "good" : "bad"}`}>
      {whole ? `All ${verified.asked} writes acknowledged since this side was loaded are there, by id` : `${verified.missing.length} of ${verified.asked} are missing: ${verified.missing.slice(0, 3).join(", ")}`}
      {` (${regions.join(", ")}).`}
    </p>
  );
}
