/** hls.js as an engine: content steering between the regions' origins, with tuned policies. Loaded on demand. */
import Hls, { ErrorDetails, ErrorTypes, Events, type ErrorData, type MediaPlaylist } from "hls.js";
import type { Choice, Engine, EngineOptions } from "./engine";
import { hlsSettings } from "./policies";

export const isSupported = (): boolean => Hls.isSupported();

export class HlsEngine implements Engine {
  readonly name = "hls";
  private readonly hls: Hls;
  private recovered = 0;

  constructor(private readonly options: EngineOptions) {
    this.hls = new Hls(hlsSettings(options.bufferS));
    this.report();
    this.hls.attachMedia(options.video);
  }

  private report(): void {
    const { events, now } = this.options;
    const { hls } = this;
    hls.on(Events.FRAG_LOADED, (_, { frag, networkDetails }) => {
      const { start, end } = frag.stats.loading;
      const url = (networkDetails as { responseURL?: string; url?: string } | null)?.responseURL || frag.url;
      events.fetched({ at: now(), url, type: "segment", ok: true, ms: Math.round(end - start) });
    });
    hls.on(Events.LEVEL_LOADED, (_, data) => {
      events.fetched({ at: now(), url: data.details.url, type: "playlist", ok: true, ms: Math.round(data.stats.loading.end - data.stats.loading.start) });
    });
    hls.on(Events.MANIFEST_PARSED, () => events.tracks());
    for (const changed of [Events.AUDIO_TRACKS_UPDATED, Events.SUBTITLE_TRACKS_UPDATED, Events.AUDIO_TRACK_SWITCHED, Events.SUBTITLE_TRACK_SWITCH] as const) {
      hls.on(changed, () => events.tracks());
    }
    hls.on(Events.ERROR, (_, data) => this.failed(data));
  }

  private failed(data: ErrorData): void {
    const { events, now } = this.options;
    const url = data.frag?.url ?? data.context?.url ?? data.url;
    if (data.type === ErrorTypes.NETWORK_ERROR && url && data.details !== ErrorDetails.INTERNAL_ABORTED) {
      const type = data.frag ? "segment" : data.details.startsWith("manifest") ? "manifest" : "playlist";
      events.fetched({ at: now(), url, type, ok: false, ms: 0 });
    }
    if (!data.fatal) return;
    if (data.type === ErrorTypes.MEDIA_ERROR && now() - this.recovered > 5000) {
      this.recovered = now();
      this.hls.recoverMediaError();
      return;
    }
    events.fatal(data.type === ErrorTypes.NETWORK_ERROR ? "network" : "media", data.details);
  }

  load(url: string, startS: number | null): Promise<void> {
    const { hls } = this;
    if (startS !== null) hls.config.startPosition = startS;
    hls.loadSource(url);
    // Failing to read the manifest is a fatal error and reported as such; nobody waits on this promise for it.
    return new Promise((resolve) => hls.once(Events.MANIFEST_PARSED, () => resolve()));
  }

  retry(): boolean {
    if (this.hls.levels.length === 0) return false;
    this.hls.startLoad(-1);
    return true;
  }

  audio(): { all: Choice[]; current: string | null } {
    return listed(this.hls.audioTracks, this.hls.audioTrack);
  }

  text(): { all: Choice[]; current: string | null } {
    return listed(this.hls.subtitleTracks, this.hls.subtitleDisplay ? this.hls.subtitleTrack : -1);
  }

  selectAudio(id: string): void {
    const at = this.hls.audioTracks.findIndex((t) => idOf(t) === id);
    if (at >= 0) this.hls.audioTrack = at;
  }

  selectText(id: string | null): void {
    const at = id === null ? -1 : this.hls.subtitleTracks.findIndex((t) => idOf(t) === id);
    this.hls.subtitleDisplay = at >= 0;
    this.hls.subtitleTrack = at;
  }

  seekable(): { start: number; end: number; live: number } {
    const { video } = this.options;
    const span = video.seekable;
    const start = span.length > 0 ? span.start(0) : 0;
    const end = span.length > 0 ? span.end(span.length - 1) : 0;
    const details = this.hls.latestLevelDetails;
    return { start: details?.fragmentStart ?? start, end, live: this.hls.liveSyncPosition ?? end };
  }

  async destroy(): Promise<void> {
    this.hls.destroy();
  }
}

/** The same on every pathway, so that a choice outlives a change of region. */
function idOf(track: MediaPlaylist): string {
  return `${track.lang ?? "und"}|${track.name}`;
}

function listed(tracks: readonly MediaPlaylist[], current: number): { all: Choice[]; current: string | null } {
  const all = new Map<string, Choice>();
  for (const t of tracks) all.set(idOf(t), { id: idOf(t), label: t.name, lang: t.lang ?? "und" });
  const now = tracks[current];
  return { all: [...all.values()], current: now ? idOf(now) : null };
}
