/** Posters, cards and the rows they stand in. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Card, NowNext } from "../sdk";
import { ChevronLeft, ChevronRight, Play } from "../ui/icons";
import { useApp } from "./context";
import { href } from "./router";
import { clock, duration, named } from "./texts";

/** Where no region has a poster: the name over the stream's own colours, a different mix for each title. */
function hue(id: string): number {
  let sum = 0;
  for (const c of id) sum = (sum * 31 + c.charCodeAt(0)) % 360;
  return 150 + (sum % 90);
}

export function Poster({ path, id, name, eager = false }: { path: string | undefined; id: string; name: string; eager?: boolean }): JSX.Element {
  const { client } = useApp();
  const origins = client.mediaOrigins();
  const [failed, setFailed] = useState(0);
  useEffect(() => setFailed(0), [path]);
  const origin = origins[failed];
  if (!path || origin === undefined) {
    return (
      <span class="poster blank" style={{ "--hue": hue(id) }} aria-hidden="true">
        <span>{name}</span>
      </span>
    );
  }
  return <img class="poster" src={origin + path} alt="" loading={eager ? "eager" : "lazy"} decoding="async" onError={() => setFailed((n) => n + 1)} />;
}

interface CardProps {
  card: Card;
  /** 0 to 1: how much of it has been watched. */
  watched?: number;
  line?: string;
  to?: string;
  now?: NowNext | undefined;
}

export function CardLink({ card, watched, line, to, now }: CardProps): JSX.Element {
  const { lang, t } = useApp();
  const name = named(lang, card.names);
  const channel = card.kind === "channel";
  const programme = now?.now ? named(lang, now.now.names) : "";
  return (
    <a class={`card ${channel ? "channel" : ""}`} href={to ?? href(channel ? "live" : "title", card.id)}>
      <span class="picture">
        <Poster path={now?.now?.poster ?? card.poster} id={card.id} name={name} />
        {channel && <span class="live-badge">{t("liveBadge")}</span>}
        {card.tier === "premium" && <span class="premium-badge">{t("premium")}</span>}
        <span class="glyph" aria-hidden="true"><Play /></span>
        {watched !== undefined && <span class="watched"><span style={{ width: `${Math.round(watched * 100)}%` }} /></span>}
        {channel && now?.now && <span class="watched live"><span style={{ width: `${Math.round(elapsed(now.now.from_ms, now.now.to_ms) * 100)}%` }} /></span>}
      </span>
      <span class="name">{name}</span>
      {channel && programme !== "" && now?.now && <span class="line">{programme} · {clock(lang, now.now.from_ms)}–{clock(lang, now.now.to_ms)}</span>}
      {!channel && <span class="line">{line ?? facts(card, t)}</span>}
    </a>
  );
}

export function elapsed(fromMs: number, toMs: number): number {
  return Math.min(1, Math.max(0, (Date.now() - fromMs) / Math.max(1, toMs - fromMs)));
}

type Translate = ReturnType<typeof useApp>["t"];

export function facts(card: Card, t: Translate): string {
  const found = [];
  if (card.duration_ms) found.push(card.duration_ms < 60_000 ? duration(card.duration_ms / 1000) : t("minutes", { n: Math.round(card.duration_ms / 60_000) }));
  if (card.genres?.[0]) found.push(capital(card.genres[0]));
  if (card.age) found.push(t("age", { n: card.age }));
  return found.join(" · ");
}

export const capital = (s: string): string => s.charAt(0).toUpperCase() + s.slice(1).replace(/-/g, " ");

/** A row of cards that scrolls sideways; buttons for mice, arrows for remotes, swiping for hands. */
export function Row({ id, title, children }: { id: string; title: string; children: ComponentChildren }): JSX.Element {
  const { t } = useApp();
  const track = useRef<HTMLUListElement>(null);
  const [more, setMore] = useState({ left: false, right: false });
  const look = (): void => {
    const e = track.current;
    if (e) setMore({ left: e.scrollLeft > 4, right: e.scrollLeft + e.clientWidth < e.scrollWidth - 4 });
  };
  useEffect(() => {
    look();
    addEventListener("resize", look);
    return () => removeEventListener("resize", look);
  }, [children]);
  const page = (way: number): void => track.current?.scrollBy({ left: way * track.current.clientWidth * 0.85, behavior: "smooth" });
  return (
    <section class="row" aria-labelledby={`row-${id}`}>
      <div class="row-head">
        <h2 id={`row-${id}`}>{title}</h2>
        <div class="pager">
          <button class="icon-button" tabIndex={-1} disabled={!more.left} aria-label={`${t("scrollLeft")}: ${title}`} onClick={() => page(-1)}><ChevronLeft /></button>
          <button class="icon-button" tabIndex={-1} disabled={!more.right} aria-label={`${t("scrollRight")}: ${title}`} onClick={() => page(1)}><ChevronRight /></button>
        </div>
      </div>
      <ul class="track" ref={track} onScroll={look}>{children}</ul>
    </section>
  );
}

export function SkeletonRows(): JSX.Element {
  return (
    <div class="skeletons" aria-hidden="true">
      <div class="skeleton hero-skeleton" />
      {[0, 1].map((row) => (
        <div class="skeleton-row" key={row}>{[0, 1, 2, 3, 4].map((n) => <div class="skeleton" key={n} />)}</div>
      ))}
    </div>
  );
}

/** What a page shows while it has nothing else: loading, or why it could not. */
export function Waiting({ error, reload }: { error: unknown; reload: () => void }): JSX.Element {
  const { t } = useApp();
  if (error === null || error === undefined) return <SkeletonRows />;
  const gone = (error as { status?: number }).status === 404;
  return (
    <div class="notice" role="alert">
      <h1>{gone ? t("notFound") : t("loadFailed")}</h1>
      {!gone && <p>{t("nothingAnswers")}</p>}
      {gone ? <a class="button primary" href="#/">{t("browse")}</a> : <button class="button primary" onClick={reload}>{t("tryAgain")}</button>}
    </div>
  );
}
