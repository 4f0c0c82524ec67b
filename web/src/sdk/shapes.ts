/**
 * From the wire to our types, at the border and nowhere else. Tolerant on purpose: an app that is a release older than
 * the service must go on showing what it understands.
 */
import type { Endpoint } from "./regions";
import type {
  Card, Channel, Home, Manifests, MyRails, Names, NowNext, Playback, ProgrammeSlot, Rail, ResumeEntry, Saved, SearchPage, SignedIn, TitleDetail,
} from "./types";

type Json = Record<string, unknown>;

const isObject = (v: unknown): v is Json => typeof v === "object" && v !== null && !Array.isArray(v);
const obj = (v: unknown): Json => (isObject(v) ? v : {});
const list = (v: unknown): Json[] => (Array.isArray(v) ? v.filter(isObject) : []);
const text = (v: unknown, otherwise = ""): string => (typeof v === "string" ? v : typeof v === "number" ? String(v) : otherwise);
const num = (v: unknown, otherwise = 0): number => (typeof v === "number" && Number.isFinite(v) ? v : otherwise);
const texts = (v: unknown): string[] => (Array.isArray(v) ? v.filter((t): t is string => typeof t === "string") : []);

/** A list, or an object that has one under any of these names. */
function listIn(v: unknown, ...names: string[]): Json[] {
  if (Array.isArray(v)) return list(v);
  for (const name of names) if (Array.isArray(obj(v)[name])) return list(obj(v)[name]);
  return [];
}

export function namesOf(v: unknown): Names | undefined {
  if (typeof v === "string") return { en: v };
  if (!isObject(v)) return undefined;
  const found = Object.entries(v).filter((e): e is [string, string] => typeof e[1] === "string");
  return found.length > 0 ? Object.fromEntries(found) : undefined;
}

/** `i18n: {de: {name, synopsis}}` as names or synopses. */
function fromI18n(v: unknown, ...fields: string[]): Names | undefined {
  const found: Names = {};
  for (const [lang, entry] of Object.entries(obj(v))) {
    for (const field of fields) if (typeof obj(entry)[field] === "string") found[lang] ??= obj(entry)[field] as string;
  }
  return Object.keys(found).length > 0 ? found : undefined;
}

/** Optional fields are left out rather than undefined: `exactOptionalPropertyTypes`. */
function present<T extends object>(fields: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined)) as T;
}

export function toSignedIn(v: unknown): SignedIn {
  const o = obj(v);
  return {
    access: text(o["access"]),
    refresh: text(o["refresh"]),
    expires_in: num(o["expires_in"], 900),
    slot: text(o["slot"]),
    endpoints: list(o["endpoints"]).map(toEndpoint).filter((e) => e.api !== ""),
    account: text(o["account"]),
    profile: text(o["profile"], "p1"),
    tier: text(o["tier"], "free"),
    age: num(o["age"], 12),
  };
}

export function toEndpoint(v: unknown): Endpoint {
  const o = obj(v);
  const bare = (u: unknown): string => text(u).replace(/\/+$/, "");
  return { region: text(o["region"]), api: bare(o["api"]), media: bare(o["media"]) };
}

export function toCard(v: unknown): Card {
  const o = obj(v);
  const images = obj(o["images"]);
  const asset = typeof o["asset"] === "string" && o["asset"] !== "" ? o["asset"] : null;
  return present<Card>({
    id: text(o["id"]) || text(o["title_id"]) || text(o["channel"]),
    kind: o["kind"] === "channel" || o["type"] === "channel" || o["type"] === "live" ? "channel" : "title",
    names: namesOf(o["names"]) ?? namesOf(o["name"]) ?? fromI18n(o["i18n"], "name", "title") ?? namesOf(o["title"]) ?? { en: text(o["id"]) },
    synopses: namesOf(o["synopses"]) ?? namesOf(o["synopsis"]) ?? fromI18n(o["i18n"], "synopsis"),
    asset,
    type: typeof o["type"] === "string" ? o["type"] : undefined,
    age: typeof o["age"] === "number" ? o["age"] : typeof o["age_rating"] === "number" ? o["age_rating"] : undefined,
    genres: Array.isArray(o["genres"]) ? texts(o["genres"]) : undefined,
    duration_ms: typeof o["duration_ms"] === "number" ? o["duration_ms"] : typeof o["duration_s"] === "number" ? o["duration_s"] * 1000 : undefined,
    credit: text(o["credit"]) || text(o["credits"]) || undefined,
    number: typeof o["number"] === "number" ? o["number"] : typeof o["lcn"] === "number" ? o["lcn"] : undefined,
    tier: typeof o["tier"] === "string" ? o["tier"] : undefined,
    poster: typeof o["image"] === "string" && o["image"] !== "" ? pathOf(o["image"]) : typeof images["poster"] === "string" ? pathOf(images["poster"]) : typeof o["poster"] === "string" ? pathOf(o["poster"]) : asset ? `/img/${asset}/poster.jpg` : undefined,
  });
}

function pathOf(url: string): string {
  try {
    return new URL(url, "http://any").pathname;
  } catch {
    return url;
  }
}

export function toHome(v: unknown): Home {
  const o = obj(v);
  return { version: text(o["version"]), rails: listIn(v, "rails").map(toRail).filter((r) => r.items.length > 0) };
}

export function toSearchPage(v: unknown): SearchPage {
  const o = obj(v);
  const cursor = text(o["cursor"]);
  const hits = listIn(v, "hits").map(toCard).filter((c) => c.id !== "");
  return { hits, degraded: o["degraded"] === true, ...(cursor === "" ? {} : { cursor }) };
}

function toRail(v: Json): Rail {
  const kind = v["kind"] === "hero" || v["kind"] === "live" ? v["kind"] : "lane";
  const items = listIn(v["items"]).map(toCard).filter((c) => c.id !== "");
  return {
    id: text(v["id"]),
    kind,
    names: namesOf(v["names"]) ?? namesOf(v["title"]) ?? { en: text(v["id"]) },
    items: kind === "live" ? items.map((c) => ({ ...c, kind: "channel" as const })) : items,
  };
}

export function toTitle(v: unknown): TitleDetail {
  const tracks = obj(obj(v)["tracks_summary"] ?? obj(v)["tracks"]);
  const langs = (t: unknown): string[] | undefined =>
    Array.isArray(t) ? t.map((e) => (typeof e === "string" ? e : text(obj(e)["lang"]) || text(obj(e)["language"]))).filter((l) => l !== "") : undefined;
  return { ...toCard(v), ...present<Partial<TitleDetail>>({ audio: langs(tracks["audio"]), text: langs(tracks["text"]) }) };
}

export function toChannels(v: unknown): Channel[] {
  return listIn(v, "channels", "items").map((c) => ({
    id: text(c["id"]),
    number: num(c["number"], num(c["lcn"])),
    names: namesOf(c["names"]) ?? namesOf(c["name"]) ?? { en: text(c["id"]) },
    ...(typeof c["asset"] === "string" ? { asset: c["asset"] } : {}),
  }));
}

export function toNow(v: unknown): NowNext[] {
  return listIn(v, "channels", "items", "now").map((c) => ({
    channel: text(c["channel"]) || text(c["id"]),
    now: toSlot(c["now"]),
    next: toSlot(c["next"]),
  }));
}

function toSlot(v: unknown): ProgrammeSlot | null {
  if (!isObject(v)) return null;
  // Either flat, or {prog, from, to} around the programme.
  const programme = isObject(v["prog"]) ? v["prog"] : v;
  const card = toCard(programme);
  const ms = (flat: unknown, iso: unknown): number => (typeof flat === "number" ? flat : typeof iso === "number" ? iso : Date.parse(text(iso)) || 0);
  return {
    title: text(programme["title"]) || card.id,
    names: namesOf(programme["names"]) ?? namesOf(programme["name"]) ?? { en: text(programme["title"]) || card.id },
    asset: card.asset ?? null,
    ...(card.poster ? { poster: card.poster } : {}),
    from_ms: ms(v["from_ms"], v["from"]),
    to_ms: ms(v["to_ms"], v["to"]),
  };
}

export function toRails(v: unknown): MyRails {
  return {
    resume: listIn(obj(v)["resume"]).map(toResume),
    watchlist: listIn(obj(v)["watchlist"]).map((w) => present<Saved>({
      title: idOf(w),
      added_ms: typeof w["added_ms"] === "number" ? w["added_ms"] : undefined,
      card: isObject(w["card"]) ? toCard(w["card"]) : undefined,
    })),
  };
}

function idOf(v: Json): string {
  return isObject(v["title"]) ? text(v["title"]["id"]) : text(v["title"]) || text(v["id"]);
}

export function toResume(v: Json): ResumeEntry {
  return {
    title: idOf(v),
    pos_s: num(v["pos_s"]),
    dur_s: num(v["dur_s"]),
    ...present<Partial<ResumeEntry>>({
      updated_ms: typeof v["updated_ms"] === "number" ? v["updated_ms"] : undefined,
      card: isObject(v["card"]) ? toCard(v["card"]) : undefined,
    }),
  };
}

export function toPlayback(v: unknown, from: { region: string; cell: string }, endpoints: readonly Endpoint[]): Playback {
  const o = obj(v);
  const lease = obj(o["lease"]);
  return {
    sid: text(o["sid"]),
    token: text(o["session"]),
    heartbeatS: num(lease["heartbeat_s"], 30),
    jitter: num(lease["jitter"], 0.2),
    manifests: manifestsOf(o, from.region, endpoints),
    startS: num(o["start_pos_s"]),
    thumbnails: text(obj(o["thumbnails"])["vtt"]) || null,
    degraded: texts(o["degraded"]),
    credit: text(o["credit"]),
    region: from.region,
    cell: from.cell,
  };
}

/** Of a new session, or of one whose media token was renewed. */
export function manifestsOf(v: unknown, answering: string, endpoints: readonly Endpoint[]): Manifests[] {
  const listed = list(obj(v)["endpoints"]).filter((e) => typeof e["hls"] === "string");
  return toManifests(listed.length > 0 ? listed : obj(v)["manifests"], answering, endpoints);
}

/**
 * Manifests of every region, the answering one first. Regions the answer does not list are derived: the same path on
 * the other origin, because path tokens are valid in every region (internals.md, Media).
 */
export function toManifests(v: unknown, answering: string, endpoints: readonly Endpoint[]): Manifests[] {
  const listed = Array.isArray(v) ? list(v) : isObject(v) && Array.isArray(v["hls"]) ? zip(v) : isObject(v) ? [v] : [];
  const found = listed.map((m) => {
    const hls = text(m["hls"]);
    return { region: text(m["region"]) || regionOf(hls, endpoints) || answering, hls, dash: text(m["dash"]) };
  });
  const first = found[0];
  if (!first) return [];
  const origin = originOf(first.hls || first.dash);
  for (const e of endpoints) {
    const there = e.media === "" ? "" : originOf(e.media);
    if (there === "" || found.some((m) => originOf(m.hls || m.dash) === there)) continue;
    found.push({ region: e.region, hls: first.hls.replace(origin, there), dash: first.dash.replace(origin, there) });
  }
  return found;
}

function zip(v: Json): Json[] {
  const hls = texts(v["hls"]);
  const dash = texts(v["dash"]);
  return hls.map((url, n) => ({ hls: url, dash: dash[n] ?? "" }));
}

function originOf(url: string): string {
  try {
    return new URL(url).origin;
  } catch {
    return "";
  }
}

function regionOf(url: string, endpoints: readonly Endpoint[]): string {
  return endpoints.find((e) => originOf(e.media) === originOf(url) && originOf(url) !== "")?.region ?? "";
}
