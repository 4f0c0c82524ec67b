/**
 * The service's documents as the client reads them. Unknown fields are ignored; what may be missing is optional.
 * The OpenAPI document at /v1/openapi.json is the truth.
 */
import type { Endpoint } from "./regions";

/** Language -> text; `en` is always there. */
export type Names = Record<string, string>;

export interface SignedIn {
  access: string;
  refresh: string;
  /** Seconds. */
  expires_in: number;
  slot: string;
  endpoints: Endpoint[];
  account: string;
  profile: string;
  tier: string;
  /** Age band of public URLs. */
  age: number;
}

export interface Card {
  /** Title id, or channel id when `kind` is `channel`. */
  id: string;
  kind?: "title" | "channel";
  names: Names;
  synopses?: Names;
  asset?: string | null;
  type?: string;
  age?: number;
  genres?: string[];
  duration_ms?: number;
  credit?: string;
  number?: number;
  /** The least plan that may play it. */
  tier?: string;
  /** Path of a poster on a media origin, without host. */
  poster?: string;
}

export interface Rail {
  id: string;
  kind: "hero" | "lane" | "live";
  names: Names;
  items: Card[];
}

export interface Home {
  version: string;
  rails: Rail[];
}

export interface SearchPage {
  hits: Card[];
  /** For the next page; absent on the last. */
  cursor?: string;
  /** The service is not up to date: ask again. */
  degraded: boolean;
}

export interface TitleDetail extends Card {
  revision?: number;
  audio?: string[];
  text?: string[];
}

export interface Channel {
  id: string;
  number: number;
  names: Names;
  asset?: string | null;
}

export interface ProgrammeSlot {
  title: string;
  names: Names;
  asset?: string | null;
  poster?: string;
  from_ms: number;
  to_ms: number;
}

export interface NowNext {
  channel: string;
  now: ProgrammeSlot | null;
  next: ProgrammeSlot | null;
}

export interface ResumeEntry {
  title: string;
  pos_s: number;
  dur_s: number;
  updated_ms?: number;
  /** Missing while the cell does not know the title. */
  card?: Card;
}

export interface Saved {
  title: string;
  added_ms?: number;
  card?: Card;
}

export interface MyRails {
  resume: ResumeEntry[];
  watchlist: Saved[];
}

export type AssetRef = { type: "vod" | "live" | "startover"; id: string; at?: number };

export interface Manifests {
  region: string;
  hls: string;
  dash: string;
}

export interface Playback {
  sid: string;
  /** Signed session: any cell of the slot, in any region, adopts it. */
  token: string;
  heartbeatS: number;
  jitter: number;
  /** Answering region first. */
  manifests: Manifests[];
  startS: number;
  /** Of the WebVTT file: a path on any media origin, or a URL. */
  thumbnails: string | null;
  degraded: string[];
  credit: string;
  region: string;
  cell: string;
}

export interface Conflict {
  device_name?: string;
  asset?: string;
  since_ms?: number;
  termination_code: string;
}
