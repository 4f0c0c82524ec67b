/** The pages one browses: home, channels, a title, the watch list. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Card, MyRails, NowNext, TitleDetail } from "../sdk";
import { Check, Info, Play, Plus } from "../ui/icons";
import { CardLink, Poster, Row, Waiting, capital, elapsed, facts } from "./cards";
import { useApp, useLoad } from "./context";
import { href } from "./router";
import { clock, duration, named } from "./texts";

const NOTHING: MyRails = { resume: [], watchlist: [] };

export function HomePage(): JSX.Element {
  const { client, lang, t } = useApp();
  const home = useLoad("home", () => client.home());
  const mine = useLoad("rails", () => client.rails());
  const now = useLoad("now", () => client.now(), 20_000);
  if (!home.value) return <Waiting error={home.error} reload={home.reload} />;
  const { resume, watchlist } = mine.value ?? NOTHING;
  const known = new Map(home.value.rails.flatMap((r) => r.items).map((c) => [c.id, c]));
  const heroes = home.value.rails.find((r) => r.kind === "hero")?.items ?? [];
  const lanes = home.value.rails.filter((r) => r.kind !== "hero");
  const live = lanes.filter((r) => r.kind === "live");
  const resuming = resume.flatMap((r) => {
    const card = r.card ?? known.get(r.title);
    return card ? [{ ...r, card }] : [];
  });
  const saved = watchlist.flatMap((w) => w.card ?? known.get(w.title) ?? []);
  return (
    <>
      {home.stale && <p class="stale" role="status">{t("stale")}</p>}
      {home.value.rails.length === 0 && <div class="notice" role="status"><h1>{t("emptyList")}</h1><p>{t("emptyHomeHint")}</p></div>}
      {heroes[0] && <Hero cards={heroes} saved={new Set(watchlist.map((w) => w.title))} changed={mine.reload} />}
      {live.map((rail) => (
        <Row key={rail.id} id={rail.id} title={named(lang, rail.names)}>
          {rail.items.map((c) => <li key={c.id}><CardLink card={c} now={now.value?.find((n) => n.channel === c.id)} /></li>)}
        </Row>
      ))}
      {resuming.length > 0 && (
        <Row id="resume" title={t("continueWatching")}>
          {resuming.map((r) => (
            <li key={r.title}>
              <CardLink card={r.card} to={href("watch", r.title)} watched={r.pos_s / Math.max(1, r.dur_s)} line={t("minutesLeft", { n: Math.max(1, Math.round((r.dur_s - r.pos_s) / 60)) })} />
            </li>
          ))}
        </Row>
      )}
      {saved.length > 0 && <Row id="watchlist" title={t("myList")}>{saved.map((c) => <li key={c.id}><CardLink card={c} /></li>)}</Row>}
      {lanes.filter((r) => r.kind !== "live").map((rail) => (
        <Row key={rail.id} id={rail.id} title={named(lang, rail.names)}>{rail.items.map((c) => <li key={c.id}><CardLink card={c} /></li>)}</Row>
      ))}
    </>
  );
}

function Hero({ cards, saved, changed }: { cards: Card[]; saved: Set<string>; changed: () => void }): JSX.Element {
  const { lang, t } = useApp();
  const [at, setAt] = useState(0);
  const card = cards[at] ?? (cards[0] as Card);
  const name = named(lang, card.names);
  return (
    <section class="hero" aria-labelledby="hero-name">
      <Poster key={card.id} path={card.poster} id={card.id} name="" eager />
      <div class="hero-text">
        <h1 id="hero-name">{name}</h1>
        <p class="hero-facts">{facts(card, t)}</p>
        <p class="hero-synopsis">{named(lang, card.synopses)}</p>
        <div class="actions">
          <a class="button primary" href={href("watch", card.id)}><Play />{t("play")}</a>
          <a class="button" href={href("title", card.id)}><Info />{t("details")}</a>
          <SaveButton id={card.id} saved={saved.has(card.id)} changed={changed} compact />
        </div>
        {cards.length > 1 && (
          <div class="dots">
            {cards.map((c, n) => <button key={c.id} aria-label={named(lang, c.names)} aria-current={n === at} onClick={() => setAt(n)} />)}
          </div>
        )}
      </div>
    </section>
  );
}

export function SaveButton({ id, saved, changed, compact = false }: { id: string; saved: boolean; changed: () => void; compact?: boolean }): JSX.Element {
  const { client, t } = useApp();
  // Shown at once, taken back when the service refuses.
  const [wanted, setWanted] = useState<{ id: string; saved: boolean } | null>(null);
  const shown = wanted && wanted.id === id ? wanted.saved : saved;
  const toggle = async (): Promise<void> => {
    const next = !shown;
    setWanted({ id, saved: next });
    try {
      await (next ? client.save(id) : client.unsave(id));
      changed();
    } catch {
      setWanted({ id, saved: !next });
    }
  };
  return (
    <button class={compact ? "button round" : "button"} aria-pressed={shown} aria-label={shown ? t("remove") : t("add")} onClick={() => void toggle()}>
      {shown ? <Check /> : <Plus />}
      {!compact && t("myList")}
    </button>
  );
}

export function TitlePage({ id }: { id: string }): JSX.Element {
  const { client, lang, t } = useApp();
  const title = useLoad(`title ${id}`, () => client.title(id));
  const mine = useLoad("rails", () => client.rails());
  if (!title.value) return <Waiting error={title.error} reload={title.reload} />;
  const card = title.value;
  const name = named(lang, card.names);
  const progress = mine.value?.resume.find((r) => r.title === id);
  return (
    <article class="title-page">
      <div class="backdrop"><Poster path={card.poster} id={card.id} name="" eager /></div>
      <div class="title-text">
        <h1>{name}</h1>
        <p class="hero-facts">{facts(card, t)}{card.age === 0 || card.age === undefined ? ` · ${t("allAges")}` : ""}</p>
        <div class="actions">
          <a class="button primary" href={href("watch", id)}><Play />{progress ? t("resumeAt", { time: duration(progress.pos_s) }) : t("play")}</a>
          <SaveButton id={id} saved={mine.value?.watchlist.some((w) => w.title === id) ?? false} changed={mine.reload} />
        </div>
        {progress && <div class="watched wide"><span style={{ width: `${Math.round((progress.pos_s / Math.max(1, progress.dur_s)) * 100)}%` }} /></div>}
        <p class="synopsis">{named(lang, card.synopses) || t("synopsisMissing")}</p>
        <Facts card={card} />
      </div>
    </article>
  );
}

function Facts({ card }: { card: TitleDetail }): JSX.Element {
  const { lang, t } = useApp();
  const names = new Intl.DisplayNames([lang], { type: "language" });
  const languages = (codes: string[]): string => [...new Set(codes)].map((c) => (c === "und" ? "–" : (names.of(c) ?? c))).join(", ");
  const rows: [string, string][] = [];
  if (card.genres?.length) rows.push([t("genres"), card.genres.map(capital).join(", ")]);
  if (card.audio?.length) rows.push([t("audio"), languages(card.audio)]);
  if (card.text?.length) rows.push([t("subtitles"), languages(card.text)]);
  if (card.credit) rows.push([t("footage"), card.credit]);
  return <dl class="facts">{rows.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>;
}

export function ChannelsPage(): JSX.Element {
  const { client, lang, t } = useApp();
  const channels = useLoad("channels", () => client.channels());
  const now = useLoad("now", () => client.now(), 10_000);
  if (!channels.value) return <Waiting error={channels.error} reload={channels.reload} />;
  return (
    <>
      <h1 class="page-name">{t("live")}</h1>
      <ul class="channels">
        {channels.value.map((c) => {
          const on = now.value?.find((n) => n.channel === c.id);
          const poster = on?.now?.poster;
          return (
            <li key={c.id}>
              <a class="channel-line" href={href("live", c.id)}>
                <span class="picture"><Poster path={poster} id={c.id} name={named(lang, c.names)} /><span class="live-badge">{t("liveBadge")}</span></span>
                <span class="channel-text">
                  <span class="channel-name"><span class="channel-number">{c.number}</span>{named(lang, c.names)}</span>
                  <OnAir on={on} />
                </span>
              </a>
            </li>
          );
        })}
      </ul>
    </>
  );
}

export function OnAir({ on }: { on: NowNext | undefined }): JSX.Element | null {
  const { lang, t } = useApp();
  if (!on?.now) return null;
  return (
    <span class="on-air">
      <span class="on-now"><span class="tag">{t("now")}</span> {named(lang, on.now.names)} <span class="muted">{clock(lang, on.now.from_ms)}–{clock(lang, on.now.to_ms)}</span></span>
      <span class="watched wide live"><span style={{ width: `${Math.round(elapsed(on.now.from_ms, on.now.to_ms) * 100)}%` }} /></span>
      {on.next && <span class="on-next"><span class="tag">{t("next")}</span> {named(lang, on.next.names)} <span class="muted">{clock(lang, on.next.from_ms)}</span></span>}
    </span>
  );
}

export function ListPage(): JSX.Element {
  const { client, t } = useApp();
  const mine = useLoad("rails", () => client.rails());
  const home = useLoad("home", () => client.home());
  if (!mine.value) return <Waiting error={mine.error} reload={mine.reload} />;
  const known = new Map((home.value?.rails ?? []).flatMap((r) => r.items).map((c) => [c.id, c]));
  const cards = mine.value.watchlist.map((w) => w.card ?? known.get(w.title) ?? { id: w.title, names: { en: w.title } });
  return (
    <>
      <h1 class="page-name">{t("myList")}</h1>
      {cards.length === 0 ? (
        <div class="notice">
          <h2>{t("emptyList")}</h2>
          <p>{t("emptyListHint")}</p>
          <a class="button primary" href="#/">{t("browse")}</a>
        </div>
      ) : (
        <ul class="grid">{cards.map((c) => <li key={c.id}><CardLink card={c} /></li>)}</ul>
      )}
    </>
  );
}
