/**
 * Shaka Player as an engine, for HLS and DASH. Every request gets the URLs of all regions; Shaka tries them in turn.
 *
 * A trap that froze the picture for eight seconds when we fell into it (reference/media.md section 4.4): request filters
 * run again on every attempt while the index goes on counting, so a filter that reorders on a retry sends the retry to
 * the dead region again. Hence the guard.
 */
import shaka from "shaka-player/dist/shaka-player.compiled-es2021.js";
import type { Choice, Engine, EngineOptions, Fetched } from "./engine";
import { Origins } from "./origins";
import { shakaSettings } from "./policies";

const NAMES: Record<string, string> = { de: "Deutsch", en: "English", fr: "Français", it: "Italiano", es: "Español" };

export class ShakaEngine implements Engine {
  readonly name = "shaka";
  private readonly player: shaka.Player;
  private readonly origins: Origins;
  private readonly attached: Promise<unknown>;
  private textOn = false;

  constructor(private readonly options: EngineOptions) {
    shaka.polyfill.installAll();
    this.player = new shaka.Player();
    this.player.configure(shakaSettings(options.bufferS));
    this.origins = new Origins(options.now);
    for (const m of options.source.manifests) {
      this.origins.add(m.hls);
      this.origins.add(m.dash);
    }
    this.watch();
    this.attached = this.player.attach(options.video);
  }

  private watch(): void {
    const { events, now } = this.options;
    const net = this.player.getNetworkingEngine();
    net?.registerRequestFilter((_type, request) => {
      const { attempt } = request as unknown as { attempt?: number };
      if ((attempt ?? 0) > 0) return;
      request.uris = this.origins.spread(request.uris);
    });
    net?.registerResponseFilter((type, response) => {
      this.origins.answered(response.uri);
      events.fetched({ at: now(), url: response.uri, type: kind(type), ok: true, ms: Math.round(response.timeMs ?? 0) });
    });
    net?.addEventListener("retry", (event) => {
      const url = errorUrl((event as unknown as { error?: unknown }).error);
      if (url === "") return;
      this.origins.failed(url);
      events.fetched({ at: now(), url, type: "other", ok: false, ms: 0 });
    });
    this.player.addEventListener("error", (event) => this.failed((event as unknown as { detail: shaka.util.Error }).detail));
    for (const changed of ["trackschanged", "audiotrackschanged", "audiotrackchanged", "textchanged", "texttrackvisibility"]) {
      this.player.addEventListener(changed, () => events.tracks());
    }
  }

  private failed(error: shaka.util.Error): void {
    const { CRITICAL } = shaka.util.Error.Severity;
    if (error.severity !== CRITICAL) return;
    const network = error.category === shaka.util.Error.Category.NETWORK || error.category === shaka.util.Error.Category.MANIFEST;
    this.options.events.fatal(network ? "network" : "media", `shaka ${error.code}`);
  }

  async load(url: string, startS: number | null): Promise<void> {
    await this.attached;
    try {
      await this.player.load(url, startS);
    } catch (error) {
      this.failed(error as shaka.util.Error);
      return;
    }
    this.options.events.tracks();
  }

  retry(): boolean {
    return this.player.retryStreaming(0.1);
  }

  audio(): { all: Choice[]; current: string | null } {
    const tracks = this.player.getAudioTracks();
    const all = new Map(tracks.map((t) => [audioId(t), { id: audioId(t), label: t.label ?? NAMES[t.language] ?? t.language, lang: t.language }]));
    const now = tracks.find((t) => t.active);
    return { all: [...all.values()], current: now ? audioId(now) : null };
  }

  text(): { all: Choice[]; current: string | null } {
    const tracks = this.player.getTextTracks();
    const all = new Map(tracks.map((t) => [textId(t), { id: textId(t), label: t.label ?? NAMES[t.language] ?? t.language, lang: t.language }]));
    const now = this.textOn ? tracks.find((t) => t.active) : undefined;
    return { all: [...all.values()], current: now ? textId(now) : null };
  }

  selectAudio(id: string): void {
    const track = this.player.getAudioTracks().find((t) => audioId(t) === id);
    if (track) this.player.selectAudioTrack(track);
  }

  selectText(id: string | null): void {
    const track = id === null ? undefined : this.player.getTextTracks().find((t) => textId(t) === id);
    this.textOn = track !== undefined;
    this.player.selectTextTrack(track ?? null);
    this.options.events.tracks();
  }

  seekable(): { start: number; end: number; live: number } {
    const { start, end } = this.player.seekRange();
    return { start, end, live: end };
  }

  async destroy(): Promise<void> {
    await this.player.destroy();
  }
}

function kind(type: number): Fetched["type"] {
  const { MANIFEST, SEGMENT, PLAYLIST } = shaka.net.NetworkingEngine.RequestType;
  return type === SEGMENT ? "segment" : type === PLAYLIST ? "playlist" : type === MANIFEST ? "manifest" : "other";
}

function errorUrl(error: unknown): string {
  const data = (error as { data?: unknown[] } | undefined)?.data;
  return typeof data?.[0] === "string" ? data[0] : "";
}

const audioId = (t: shaka.extern.AudioTrack): string => `${t.language}|${t.label ?? ""}|${t.roles.join()}`;
const textId = (t: shaka.extern.TextTrack): string => `${t.language}|${t.label ?? ""}|${t.kind ?? ""}`;
