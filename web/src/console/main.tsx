/** The console: what runs, how it fares, and (on a page of its own) what can be broken. Live by server-sent events. */
import { render } from "preact";
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { Mark, Moon, Sun } from "../ui/icons";
import { type Session, session as askSession, useLive } from "../ui/live";
import { useTheme } from "../ui/theme";
import "../ui/theme.css";
import "./console.css";
import { Events } from "./events";
import { Faults } from "./faults";
import { History } from "./history";
import { Changes, Overview } from "./overview";
import { Why } from "./why";

type Page = "overview" | "events" | "changes" | "faults";

function pageOf(hash: string): Page {
  const name = hash.replace(/^#\/?/, "");
  return name === "faults" || name === "changes" || name === "events" ? name : "overview";
}

function Console(): JSX.Element {
  const history = useMemo(() => new History(), []);
  const { status, changes, connected } = useLive((s) => history.take(s));
  const [page, setPage] = useState<Page>(pageOf(location.hash));
  const [theme, toggle] = useTheme();
  const [who, setWho] = useState<Session | null>(null);
  const [asked, setAsked] = useState<string | null>(null);
  useEffect(() => void askSession().then(setWho), []);
  useEffect(() => {
    const changed = (): void => setPage(pageOf(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  const current = (p: Page): "page" | undefined => (p === page ? "page" : undefined);
  return (
    <div class={page === "faults" ? "breaking" : ""}>
      <a class="skip" href="#content" onClick={(e) => { e.preventDefault(); document.getElementById("content")?.focus(); }}>Skip to content</a>
      <header class="console-top">
        <a class="brand" href="/"><Mark /><span class="brand-name">Console</span><span class="hidden-label">: to the Eisbach viewer app</span></a>
        <nav aria-label="Console">
          <a href="#/" aria-current={current("overview")}>Overview</a>
          <a href="#/events" aria-current={current("events")}>Events</a>
          <a href="#/changes" aria-current={current("changes")}>Changes</a>
          <a href="#/faults" aria-current={current("faults")} class="danger">Faults</a>
          <a href="/demo/">Demo</a>
        </nav>
        <span class={`stream ${connected ? "on" : ""}`} role="status">{connected ? "live" : "not connected"}</span>
        <button class="icon-button" aria-label={theme === "dark" ? "Switch to light" : "Switch to dark"} onClick={toggle}>{theme === "dark" ? <Sun /> : <Moon />}</button>
      </header>
      <main id="content" tabIndex={-1}>
        <h1 class="hidden-label">{page === "faults" ? "Faults" : page === "changes" ? "Changes" : page === "events" ? "Events" : "Overview"}</h1>
        {!status && <p class="empty">Waiting for the supervisor …</p>}
        {status && page === "overview" && <Overview status={status} history={history} changes={changes} theme={theme} why={setAsked} />}
        {status && page === "events" && <Events status={status} who={who} />}
        {status && page === "changes" && <section><h2>Changes</h2><Changes changes={changes} /></section>}
        {status && page === "faults" && <Faults status={status} who={who} why={setAsked} />}
      </main>
      {asked !== null && <Why target={asked} close={() => setAsked(null)} />}
    </div>
  );
}

const root = document.getElementById("app");
if (root) render(<Console />, root);
