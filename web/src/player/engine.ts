/**
 * What a player library must do for us. Two fit: hls.js and Shaka Player. They report; `Player` decides.
 */
import type { Manifests } from "../sdk";

export type Protocol = "hls" | "dash";

export interface Source {
  /** Answering region first. */
  manifests: readonly Manifests[];
  live: boolean;
}

export interface Choice {
  id: string;
  label: string;
  lang: string;
}

/** One piece of media or manifest that was fetched, or failed to be. */
export interface Fetched {
  at: number;
  url: string;
  type: "segment" | "playlist" | "manifest" | "other";
  ok: boolean;
  ms: number;
}

export interface EngineEvents {
  fetched(entry: Fetched): void;
  /** The engine is at its end; `media` means the decoder's fault, not the network's. */
  fatal(kind: "network" | "media", detail: string): void;
  /** Audio or text tracks are other ones now. */
  tracks(): void;
}

export interface Engine {
  readonly name: "hls" | "shaka";
  /** Resolves once the manifest is read; media follow by themselves. */
  load(url: string, startS: number | null): Promise<void>;
  /** Try again after a fatal network error, keeping what is buffered. False: it must be built anew. */
  retry(): boolean;
  audio(): { all: Choice[]; current: string | null };
  text(): { all: Choice[]; current: string | null };
  selectAudio(id: string): void;
  selectText(id: string | null): void;
  /** Of a live channel: the span one can seek in, and where live is. */
  seekable(): { start: number; end: number; live: number };
  destroy(): Promise<void>;
}

export interface EngineOptions {
  video: HTMLVideoElement;
  source: Source;
  bufferS: number | null;
  events: EngineEvents;
  now: () => number;
}
