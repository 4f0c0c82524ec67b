/** What one plays with: scrub bar with pictures, play, sound, subtitles, languages, full screen. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { type Choice, type Player, type Tile, loadThumbnails, tileAt } from "../player";
import { Audio, Back10, Captions, Expand, Forward10, Info, Muted, Pause, Play, Shrink, Volume } from "../ui/icons";
import { useApp } from "./context";
import { duration } from "./texts";
import { fullscreen, toggle } from "./watch";

interface Props {
  player: Player;
  thumbnails: string | null;
  frame: { current: HTMLDivElement | null };
  technical: boolean;
  toggleTechnical: () => void;
}

export function Controls({ player, thumbnails, frame, technical, toggleTechnical }: Props): JSX.Element {
  const { t, embedded } = useApp();
  const { video } = player;
  const audio = player.audio();
  const text = player.text();
  const muted = video.muted || video.volume === 0;
  return (
    <div class="controls">
      {player.live ? <LiveBar player={player} /> : <ScrubBar player={player} thumbnails={thumbnails} />}
      <div class="buttons">
        <button class="icon-button large" aria-label={video.paused ? t("play") : t("pause")} onClick={() => toggle(player)}>{video.paused ? <Play /> : <Pause />}</button>
        {!embedded && <button class="icon-button" aria-label={t("back10")} onClick={() => player.seek(video.currentTime - 10)}><Back10 /></button>}
        {!embedded && <button class="icon-button" aria-label={t("forward10")} onClick={() => player.seek(video.currentTime + 10)}><Forward10 /></button>}
        <button class="icon-button" aria-label={muted ? t("unmute") : t("mute")} aria-pressed={muted} onClick={() => { video.muted = !muted; if (video.volume === 0) video.volume = 0.5; }}>{muted ? <Muted /> : <Volume />}</button>
        {!embedded && (
          <input class="volume" type="range" min="0" max="1" step="0.05" aria-label={t("volume")} value={muted ? 0 : video.volume} onInput={(e) => { video.volume = Number(e.currentTarget.value); video.muted = false; }} />
        )}
        <span class="spacer" />
        {text.all.length > 0 && <Menu label={t("subtitles")} icon={<Captions />} all={[{ id: "", label: t("off"), lang: "" }, ...text.all]} current={text.current ?? ""} pick={(id) => player.selectText(id === "" ? null : id)} />}
        {audio.all.length > 1 && <Menu label={t("audio")} icon={<Audio />} all={audio.all} current={audio.current} pick={(id) => player.selectAudio(id)} />}
        <button class="icon-button" aria-label={t("technical")} aria-pressed={technical} onClick={toggleTechnical}><Info /></button>
        <button class="icon-button" aria-label={document.fullscreenElement ? t("exitFullscreen") : t("fullscreen")} onClick={() => void fullscreen(frame.current)}>{document.fullscreenElement ? <Shrink /> : <Expand />}</button>
      </div>
    </div>
  );
}

function LiveBar({ player }: { player: Player }): JSX.Element {
  const { t } = useApp();
  const { live } = player.span();
  const behind = live - player.video.currentTime;
  const atEdge = behind < 12 || player.video.currentTime === 0;
  return (
    <div class="live-bar">
      <button class={`live-button ${atEdge ? "at-edge" : ""}`} onClick={() => player.goLive()}>
        <span class="dot" />{t("liveBadge")}{!atEdge && <> −{duration(behind)}<span class="hidden-label"> {t("goLive")}</span></>}
      </button>
    </div>
  );
}

function ScrubBar({ player, thumbnails }: { player: Player; thumbnails: string | null }): JSX.Element {
  const { t, client } = useApp();
  const { video } = player;
  const { end } = player.span();
  const bar = useRef<HTMLDivElement>(null);
  const [tiles, setTiles] = useState<Tile[]>([]);
  const [hover, setHover] = useState<number | null>(null);
  const [drag, setDrag] = useState<number | null>(null);
  useEffect(() => {
    if (thumbnails === null) return;
    let wanted = true;
    const urls = /^https?:/.test(thumbnails) ? [thumbnails] : client.mediaOrigins().map((origin) => origin + thumbnails);
    void loadThumbnails(urls).then((found) => wanted && setTiles(found));
    return () => {
      wanted = false;
    };
  }, [thumbnails]);
  const at = (event: PointerEvent): number => {
    const box = bar.current?.getBoundingClientRect();
    return box ? Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * end : 0;
  };
  const position = drag ?? video.currentTime;
  const shown = drag ?? hover;
  const percent = (seconds: number): string => `${end > 0 ? Math.min(100, (seconds / end) * 100) : 0}%`;
  return (
    <div class="scrub">
      <span class="time">{duration(position)}</span>
      <div
        ref={bar}
        class="bar"
        role="slider"
        tabIndex={0}
        aria-label={t("seek")}
        aria-valuemin={0}
        aria-valuemax={Math.round(end)}
        aria-valuenow={Math.round(position)}
        aria-valuetext={`${duration(position)} / ${duration(end)}`}
        onPointerDown={(e) => { e.currentTarget.setPointerCapture(e.pointerId); setDrag(at(e)); }}
        onPointerMove={(e) => { setHover(at(e)); if (drag !== null) setDrag(at(e)); }}
        onPointerUp={(e) => { if (drag !== null) player.seek(at(e)); setDrag(null); }}
        onPointerLeave={() => setHover(null)}
      >
        <div class="rail">
          <div class="loaded" style={{ width: percent(bufferEnd(video)) }} />
          <div class="played" style={{ width: percent(position) }} />
        </div>
        <div class="knob" style={{ left: percent(position) }} />
        {shown !== null && <Preview tile={tileAt(tiles, shown)} seconds={shown} left={percent(shown)} />}
      </div>
      <span class="time">{duration(end)}</span>
    </div>
  );
}

function bufferEnd(video: HTMLVideoElement): number {
  return video.buffered.length > 0 ? video.buffered.end(video.buffered.length - 1) : 0;
}

function Preview({ tile, seconds, left }: { tile: Tile | null; seconds: number; left: string }): JSX.Element {
  return (
    <div class="preview" style={{ left }} aria-hidden="true">
      {tile && <div class="tile" style={{ width: tile.width, height: tile.height, backgroundImage: `url("${tile.url}")`, backgroundPosition: `-${tile.x}px -${tile.y}px` }} />}
      <span>{duration(seconds)}</span>
    </div>
  );
}

interface MenuProps {
  label: string;
  icon: JSX.Element;
  all: readonly Choice[];
  current: string | null;
  pick: (id: string) => void;
}

function Menu({ label, icon, all, current, pick }: MenuProps): JSX.Element {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    root.current?.querySelector<HTMLElement>("[aria-checked=true]")?.focus();
    const outside = (e: Event): void => {
      if (!root.current?.contains(e.target as Node)) setOpen(false);
    };
    addEventListener("pointerdown", outside);
    return () => removeEventListener("pointerdown", outside);
  }, [open]);
  const close = (): void => {
    setOpen(false);
    root.current?.querySelector<HTMLElement>("button")?.focus();
  };
  const key = (e: KeyboardEvent): void => {
    if (!open) return;
    if (e.key === "Escape") close();
    else if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      const items = [...(root.current?.querySelectorAll<HTMLElement>("[role=menuitemradio]") ?? [])];
      const next = items.indexOf(document.activeElement as HTMLElement) + (e.key === "ArrowDown" ? 1 : -1);
      items[(next + items.length) % items.length]?.focus();
    } else return;
    e.preventDefault();
    e.stopPropagation();
  };
  return (
    <div class="menu" ref={root} onKeyDown={key}>
      <button class="icon-button" aria-label={label} aria-haspopup="menu" aria-expanded={open} onClick={() => setOpen(!open)}>{icon}</button>
      {open && (
        <div class="menu-list" role="menu" aria-label={label}>
          <p class="menu-name" aria-hidden="true">{label}</p>
          {all.map((c) => (
            <button key={c.id} role="menuitemradio" aria-checked={c.id === (current ?? "")} lang={c.lang || undefined} onClick={() => { pick(c.id); close(); }}>{c.label}</button>
          ))}
        </div>
      )}
    </div>
  );
}
