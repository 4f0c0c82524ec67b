/** The page one watches on: the video, what lies over it, and its keys. */
import type { JSX } from "preact";
import { useCallback, useEffect, useReducer, useRef, useState } from "preact/hooks";
import type { Player } from "../player";
import type { AssetRef, Card } from "../sdk";
import { ArrowLeft, Volume } from "../ui/icons";
import { Controls } from "./controls";
import { useApp, useLoad } from "./context";
import { OnAir } from "./pages";
import { type Phase, Watching, wishes } from "./playback";
import { askedForPageAt, goBack, href } from "./router";
import { Technical } from "./technical";
import type { Key } from "./texts";
import { named } from "./texts";

const HIDE_AFTER_MS = 3200;
const REDRAW_MS = 50;

export function WatchPage({ asset }: { asset: AssetRef }): JSX.Element {
  const { client, lang, t, query, embedded } = useApp();
  const live = asset.type === "live";
  const video = useRef<HTMLVideoElement>(null);
  const frame = useRef<HTMLDivElement>(null);
  const watching = useRef<Watching | null>(null);
  const redraw = useRedraw();
  const [technical, setTechnical] = useState(query.has("technical"));
  const title = useLoad<Card | null>(live ? "none" : `title ${asset.id}`, () => (live ? Promise.resolve(null) : client.title(asset.id)));
  const channels = useLoad(live ? "channels" : "none-channels", () => (live ? client.channels() : Promise.resolve([])));
  const now = useLoad(live ? "now" : "none-now", () => (live ? client.now() : Promise.resolve([])), live ? 10_000 : 0);
  const on = now.value?.find((n) => n.channel === asset.id);
  const channel = channels.value?.find((c) => c.id === asset.id);
  const name = live ? named(lang, channel?.names) : named(lang, title.value?.names);

  useEffect(() => {
    if (!video.current) return;
    const one = new Watching(client, asset, video.current, { wishes: wishes(query), askedAt: askedForPageAt(), changed: redraw });
    watching.current = one;
    redraw();
    return () => one.close();
  }, [asset.type, asset.id]);

  const phase: Phase = watching.current?.phase ?? { name: "starting" };
  const player = phase.name === "playing" ? phase.player : null;
  const leave = useCallback(() => goBack(live ? "#/live" : href("title", asset.id)), [live, asset.id]);
  const [awake, wake] = useAwake(player);
  useKeys(player, frame, { leave, wake, technical: () => setTechnical((on) => !on), embedded });

  const state = player?.state;
  const shown = awake || state !== "playing";
  return (
    <div ref={frame} class={`player ${shown ? "" : "asleep"} ${embedded ? "embedded" : ""}`} onPointerMove={wake} onPointerDown={wake} onFocusCapture={wake}>
      {/* Captions are chosen among the stream's own; there is no separate file to put into a <track>. */}
      <video ref={video} playsInline aria-label={name} onClick={() => player && toggle(player)} onDblClick={() => void fullscreen(frame.current)} />
      <Veil phase={phase} state={state} live={live} retry={(codes) => void watching.current?.start(codes)} />
      {!embedded && (
        <header class="player-top">
          <button class="icon-button" aria-label={t("goBack")} onClick={leave}><ArrowLeft /></button>
          <div class="player-title">
            <h1>{name}</h1>
            {live && <OnAir on={on} />}
          </div>
        </header>
      )}
      {player?.silenced && video.current?.muted && state === "playing" && !embedded && !query.has("muted") && (
        <button class="button unmute" onClick={() => { if (video.current) video.current.muted = false; }}><Volume />{t("unmuteHint")}</button>
      )}
      {player && phase.name === "playing" && (
        <Controls player={player} thumbnails={phase.playback.thumbnails} frame={frame} technical={technical} toggleTechnical={() => setTechnical((on) => !on)} />
      )}
      {technical && <Technical />}
      {!embedded && phase.name === "playing" && phase.playback.credit !== "" && shown && <p class="player-credit">{phase.playback.credit}</p>}
    </div>
  );
}

/** Draws soon, once for everything that changes meanwhile: a start is dozens of events, and the first picture goes before them. */
function useRedraw(): () => void {
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      redraw(0);
    }, REDRAW_MS);
  }, []);
}

/** What lies over the picture when there is none to see. */
function Veil({ phase, state, live, retry }: { phase: Phase; state: string | undefined; live: boolean; retry: (takeover: string[]) => void }): JSX.Element | null {
  const { t, embedded } = useApp();
  if (phase.name === "playing") {
    if (state === "loading" || state === "stalled") return <div class="veil clear"><div class="spinner" role="status" aria-label={t("starting")} /></div>;
    if (state === "recovering") return <div class="veil"><div class="spinner" /><p role="status">{t("reconnecting")}</p></div>;
    if (state === "ended" && !live) return <div class="veil"><p>{t("ended")}</p><button class="button primary" onClick={() => retry([])}>{t("again")}</button></div>;
    return null;
  }
  if (phase.name === "starting") return <div class="veil"><div class="spinner" role="status" aria-label={t("starting")} /></div>;
  if (phase.name === "unreachable") return <div class="veil"><div class="spinner" /><p role="status">{t("nothingAnswers")}</p></div>;
  if (phase.name === "advised") {
    return <div class="veil"><p role="alert">{t(phase.reason === "concurrency" ? "stopConcurrency" : "stopTakenOver")}</p><button class="button primary" onClick={() => retry([])}>{t("watchHere")}</button></div>;
  }
  if (phase.name === "crowded") {
    return (
      <div class="veil" role="alert">
        <h2>{t("tooMany")}</h2>
        <p>{t("tooManyHint")}</p>
        {phase.conflicts.map((c) => <button class="button" key={c.termination_code} onClick={() => retry([c.termination_code])}>{t("stopOther", { name: c.device_name ?? "?" })}</button>)}
      </div>
    );
  }
  const known: Record<string, Key> = { rights_window: "rights_window", geo: "geo", entitlement: "entitlement", age_pin: "age_pin", not_found: "not_found" };
  return (
    <div class="veil" role="alert">
      <p>{t(known[phase.code] ?? "refused")}</p>
      {!embedded && <a class="button primary" href="#/">{t("browse")}</a>}
    </div>
  );
}

export function toggle(player: Player): void {
  if (player.video.paused) void player.play();
  else player.pause();
}

export async function fullscreen(frame: HTMLElement | null): Promise<void> {
  try {
    await (document.fullscreenElement ? document.exitFullscreen() : frame?.requestFullscreen());
  } catch {
    // Not allowed here, e.g. in a frame: it stays as it is.
  }
}

/** Controls show while something happens, and go while the viewer watches. */
function useAwake(player: Player | null): [boolean, () => void] {
  const [awake, setAwake] = useState(true);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const wake = useCallback(() => {
    setAwake(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setAwake(false), HIDE_AFTER_MS);
  }, []);
  useEffect(() => {
    wake();
    return () => clearTimeout(timer.current);
  }, [player, wake]);
  return [awake, wake];
}

interface KeyActions {
  leave: () => void;
  wake: () => void;
  technical: () => void;
  embedded: boolean;
}

function useKeys(player: Player | null, frame: { current: HTMLDivElement | null }, actions: KeyActions): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
      const inMenu = event.target instanceof HTMLElement && event.target.closest("[role=menu]") !== null;
      const onButton = event.target instanceof HTMLElement && event.target.closest("button, a") !== null;
      if (event.key === "Escape" && !inMenu) {
        if (!document.fullscreenElement && !actions.embedded) actions.leave();
        return;
      }
      if (!player || inMenu || ((event.key === " " || event.key === "Enter") && onButton)) return;
      if (!act(event.key, player, frame.current, actions)) return;
      event.preventDefault();
      actions.wake();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  });
}

function act(key: string, player: Player, frame: HTMLElement | null, actions: KeyActions): boolean {
  const { video } = player;
  switch (key) {
    case " ":
    case "k":
      toggle(player);
      return true;
    case "ArrowLeft":
    case "j":
      player.seek(video.currentTime - 10);
      return true;
    case "ArrowRight":
    case "l":
      player.seek(video.currentTime + 10);
      return true;
    case "Home":
      player.seek(player.span().start);
      return true;
    case "End":
      if (player.live) player.goLive();
      else player.seek(player.span().end);
      return true;
    case "ArrowUp":
      video.volume = Math.min(1, video.volume + 0.1);
      return true;
    case "ArrowDown":
      video.volume = Math.max(0, video.volume - 0.1);
      return true;
    case "f":
      void fullscreen(frame);
      return true;
    case "m":
      video.muted = !video.muted;
      return true;
    case "c":
      nextText(player);
      return true;
    case "i":
      actions.technical();
      return true;
    default:
      return false;
  }
}

/** Off, first, second ... and off again. */
function nextText(player: Player): void {
  const { all, current } = player.text();
  const at = all.findIndex((c) => c.id === current);
  player.selectText(all[at + 1]?.id ?? null);
}
