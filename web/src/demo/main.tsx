/**
 * The demo: the same live channel twice, from a single node and from two regions, and one red button that breaks both.
 * Each picture is the viewer app itself in a frame; the left one comes from the single node, page and all.
 */
import { render } from "preact";
import type { JSX } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";
import { Bolt, Heart, Mark, Moon, Sun } from "../ui/icons";
import { type Session, operate, session as askSession } from "../ui/live";
import { useTheme } from "../ui/theme";
import "../ui/theme.css";
import "./demo.css";
import { Side } from "./side";
import { type SideConfig, type SideState, useSide } from "./state";
import { headline } from "./words";

interface Config {
  rehearsal: boolean;
  channel: string | null;
  demo: { state: string; done: number; total: number; detail: string };
  left: SideConfig | null;
  right: SideConfig;
}

function useConfig(): Config | null {
  const [config, setConfig] = useState<Config | null>(null);
  useEffect(() => {
    let wanted = true;
    const ask = async (): Promise<void> => {
      try {
        const answer = await fetch("/demo/config");
        const found = (await answer.json()) as Config;
        if (wanted) setConfig((before) => (JSON.stringify(before) === JSON.stringify(found) ? before : found));
        if (found.channel !== null) return;
      } catch {
        // Not up yet.
      }
      if (wanted) setTimeout(() => void ask(), 1000);
    };
    void ask();
    return () => {
      wanted = false;
    };
  }, []);
  return config;
}

type Broken = { at: number; targets: string[] } | null;

function Demo(): JSX.Element {
  const config = useConfig();
  const [who, setWho] = useState<Session | null>(null);
  const [broken, setBroken] = useState<Broken>(null);
  const [healedAt, setHealedAt] = useState<number | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const [theme, toggle] = useTheme();
  useEffect(() => void askSession().then(setWho), []);
  const left = useSide(config?.left ?? null, broken?.at ?? null, healedAt);
  const right = useSide(config?.right ?? null, broken?.at ?? null, healedAt);
  useExistingFaults(setBroken);

  const press = useCallback(async (work: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setProblem("");
    try {
      await work();
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  }, []);
  const breakBoth = (): Promise<void> =>
    press(async () => {
      if (!config) return;
      // On the right the region that serves the picture now: breaking the other one would show nothing.
      const serving = config.right.regions.find((r) => r.name === right.state.report?.region);
      const targets = [...(config.left ? [config.left.break] : []), serving ? `region/${serving.name}` : config.right.break];
      const at = Date.now();
      const asked = await Promise.allSettled(targets.map((target) => operate("/ops/faults", { action: "fault", kind: "down", target })));
      const failed = asked.find((a) => a.status === "rejected");
      if (failed && failed.status === "rejected") throw failed.reason;
      setHealedAt(null);
      setBroken({ at, targets });
    });
  const heal = (): Promise<void> =>
    press(async () => {
      await operate("/ops/heal", {});
      setBroken(null);
      setHealedAt(Date.now());
    });

  const ready = config !== null && config.channel !== null;
  const may = who?.operator === true && who.rehearsal;
  return (
    <>
      <header class="demo-top">
        <a class="brand" href="/" aria-label="Eisbach, viewer app"><Mark /><span>Eisbach</span></a>
        <nav aria-label="Pages"><a href="/">Viewer</a><a href="/demo/" aria-current="page">Demo</a><a href="/console/">Console</a></nav>
        <button class="icon-button" aria-label={theme === "dark" ? "Switch to light" : "Switch to dark"} onClick={toggle}>{theme === "dark" ? <Sun /> : <Moon />}</button>
      </header>
      <main>
        <div class="pitch">
          <h1>{headline(broken !== null, healedAt !== null, [...(config?.left ? [left.state] : []), right.state])}</h1>
          <p>{subline(config, broken, left.state, right.state)}</p>
        </div>
        {!ready && <Making config={config} />}
        <div class={`stages ${config && !config.left ? "one" : ""}`}>
          {config?.left && <Side config={config.left} channel={config.channel} side={left} broken={broken?.at ?? null} healedAt={healedAt} promise="Everything in one process, on one machine." />}
          {config && <Side config={config.right} channel={config.channel} side={right} broken={broken?.at ?? null} healedAt={healedAt} promise="The same code as cells in two regions that both serve." />}
        </div>
        <div class="bench">
          {broken === null ? (
            <button class="red-button" disabled={!ready || !may || busy} onClick={() => void breakBoth()}>
              <Bolt /><span>Break it</span>
            </button>
          ) : (
            <button class="heal-button" disabled={!may || busy} onClick={() => void heal()}>
              <Heart /><span>Heal</span>
            </button>
          )}
          <div class="bench-text" role="status">
            {problem !== "" && <p class="problem">{problem}</p>}
            {broken && <p>Down since {new Date(broken.at).toLocaleTimeString()}: {broken.targets.map((t) => <code key={t}>{t}</code>)} Reload a side: each is a real page.</p>}
            {!broken && problem === "" && may && <p>Takes the single node and one whole region off: kill -9 of every process in them.</p>}
            {who && !who.operator && <p>You are watching. To press the button, open the demo link that <code>eisbach up</code> printed; <code>eisbach status</code> prints it again.</p>}
            {who?.operator && !who.rehearsal && <p>Faults are switched off here: this platform was started without rehearsal mode.</p>}
          </div>
        </div>
      </main>
    </>
  );
}

/** Something may be broken already when the page is opened, by this page or by somebody else. */
function useExistingFaults(setBroken: (b: Broken) => void): void {
  useEffect(() => {
    void fetch("/ops/status")
      .then((r) => r.json() as Promise<{ faults: { target: string; since_ms: number }[] }>)
      .then(({ faults }) => {
        if (faults.length > 0) setBroken({ at: Math.min(...faults.map((f) => f.since_ms)), targets: faults.map((f) => f.target) });
      })
      .catch(() => undefined);
  }, []);
}

function subline(config: Config | null, broken: Broken, left: SideState, right: SideState): string {
  if (!config) return "Waiting for the platform …";
  if (broken === null) return "Left, the whole service on a single node. Right, the same code in two regions. Same footage, same clock, same player.";
  const seconds = Math.max(0, Math.round(right.playedSinceFault));
  const dead = left.report === null || left.unreachable;
  return `The right side has played ${seconds} s since the fault, with ${right.gapsSinceFault === 0 ? "no gap" : `${right.gapsSinceFault} gap${right.gapsSinceFault === 1 ? "" : "s"}`} of 300 ms or more.${dead && config.left ? " The left side has nothing left to show." : ""}`;
}

function Making({ config }: { config: Config | null }): JSX.Element {
  const demo = config?.demo;
  const share = demo && demo.total > 0 ? demo.done / demo.total : 0;
  return (
    <div class="making" role="status">
      <p>{demo?.state === "failed" ? `The demo's content could not be made: ${demo.detail}` : `Making the demo's content${demo?.detail ? `: ${demo.detail}` : " …"}`}</p>
      <div class="progress"><span style={{ width: `${Math.round(share * 100)}%` }} /></div>
    </div>
  );
}

const root = document.getElementById("app");
if (root) render(<Demo />, root);
