/**
 * One playback in one <video>: chooses the library, starts at the answering region, and goes on through whatever fails.
 *
 * What the libraries handle, they handle (a region that dies in playback: the other origin). What is left is here:
 * no manifest at the start, both regions failing for a moment, a token that ran out, a library that hangs. Then the
 * playback is built anew from the next manifest, at the same place, with growing waits, for as long as the page is open.
 */
import type { Manifests } from "../sdk";
import type { Choice, Engine, EngineEvents, EngineOptions, Fetched, Protocol, Source } from "./engine";
import { originOf } from "./origins";
import { GAP_MS, type Jump, type Stall, StallDetector } from "./stalls";

export type PlayerState = "loading" | "playing" | "paused" | "stalled" | "recovering" | "ended" | "closed";

export interface PlayerOptions {
  video: HTMLVideoElement;
  source: Source;
  /** Seconds; null is the beginning, or live. */
  startS: number | null;
  engine?: "hls" | "shaka" | undefined;
  protocol?: Protocol | undefined;
  /** Cap on what is buffered ahead, in seconds. */
  bufferS?: number | null;
  /** `performance.now()` when the viewer asked to play: what the first frame is measured from. */
  askedAt?: number;
  /** Manifests anew, e.g. because the token ran out; the old ones are used when it fails. */
  renew?: () => Promise<readonly Manifests[]>;
  regionOf?: (url: string) => string;
}

export interface PlayerStatistics {
  player: string;
  protocol: Protocol;
  state: PlayerState;
  live: boolean;
  currentTime: number;
  duration: number;
  bufferedEnd: number;
  /** Origin and region of the last segment that arrived. */
  origin: string;
  region: string;
  stalls: Stall[];
  jumps: Jump[];
  /** For how long the picture has been standing right now; a gap that is not over yet is not among the stalls. */
  standingMs: number;
  firstFrameMs: number | null;
  rebuilt: number;
  fragments: Fetched[];
  failures: Fetched[];
}

const SAMPLE_MS = 50;
const HUNG_MS = 8000;
const KEPT = 2000;

export class Player {
  private engine: Engine | null = null;
  private readonly detector = new StallDetector();
  private readonly fragments: Fetched[] = [];
  private readonly failures: Fetched[] = [];
  private readonly listeners = new Set<() => void>();
  private readonly cleanups: (() => void)[] = [];
  private readonly askedAt: number;
  private manifests: readonly Manifests[];
  private generation = 0;
  private origin = "";
  private firstFrameMs: number | null = null;
  private recovering = false;
  /** Playing without sound because the browser wanted it so, not the viewer; until sound was on once. */
  silenced = false;
  private closed = false;
  private tries = 0;
  private rebuilt = 0;
  private position = 0;
  private wanted: { audio: string | null; text: string | null | undefined } = { audio: null, text: undefined };

  constructor(private readonly options: PlayerOptions) {
    this.askedAt = options.askedAt ?? performance.now();
    this.manifests = options.source.manifests;
    this.watch();
    void this.build(options.startS);
  }

  get video(): HTMLVideoElement {
    return this.options.video;
  }
  get live(): boolean {
    return this.options.source.live;
  }

  /** Called whenever something that a page shows may have changed. */
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private changed(): void {
    for (const listener of this.listeners) listener();
  }

  // -- building

  private async build(startS: number | null): Promise<void> {
    const generation = ++this.generation;
    const old = this.engine;
    this.engine = null;
    await old?.destroy();
    const { engine: wanted, bufferS = null } = this.options;
    const options: EngineOptions = {
      video: this.video,
      source: { manifests: this.manifests, live: this.live },
      bufferS,
      now: () => Date.now(),
      events: this.events(generation),
    };
    const engine = await open(wanted ?? (this.protocol === "dash" ? "shaka" : undefined), options);
    if (this.closed || generation !== this.generation) return await engine.destroy();
    this.engine = engine;
    const manifest = this.manifests[this.tries % Math.max(1, this.manifests.length)];
    if (!manifest) return;
    await engine.load(manifest[this.protocol], startS);
    if (this.closed || generation !== this.generation) return;
    if (this.wanted.audio !== null) engine.selectAudio(this.wanted.audio);
    if (this.wanted.text !== undefined) engine.selectText(this.wanted.text);
    await this.play();
  }

  private events(generation: number): EngineEvents {
    const current = (): boolean => !this.closed && generation === this.generation;
    return {
      fetched: (entry) => {
        if (!current()) return;
        if (entry.ok && entry.type === "segment") {
          push(this.fragments, entry);
          this.origin = originOf(entry.url);
          this.tries = 0;
          this.recovering = false;
        } else if (!entry.ok) push(this.failures, entry);
        this.changed();
      },
      fatal: (kind, detail) => {
        if (current()) void this.recover(kind, detail);
      },
      tracks: () => {
        if (current()) this.changed();
      },
    };
  }

  // -- recovery

  private async recover(kind: "network" | "media", detail: string): Promise<void> {
    const generation = this.generation;
    console.warn(`player: ${detail}; try ${this.tries + 1}`);
    this.recovering = true;
    this.tries += 1;
    this.changed();
    // The second manifest at once: a dead region at the start must not cost a wait.
    const wait = this.tries < Math.max(2, this.manifests.length) ? 0 : Math.min(5000, 250 * 2 ** Math.min(this.tries, 5)) * (0.75 + Math.random() / 2);
    await new Promise((done) => setTimeout(done, wait));
    if (this.closed || generation !== this.generation) return;
    const started = this.firstFrameMs !== null;
    if (kind === "network" && started && this.tries <= 3 && this.engine?.retry()) return;
    await this.rebuild();
  }

  private async rebuild(): Promise<void> {
    this.rebuilt += 1;
    const started = this.firstFrameMs !== null;
    // A picture that the viewer paused may stand; the emptied element of an earlier attempt says 0.
    if (started && !this.video.paused) this.detector.darken(Date.now());
    if (this.video.currentTime > 0) this.position = this.video.currentTime;
    const { position } = this;
    if (this.tries > 1 || started) await this.renew();
    if (this.closed) return;
    await this.build(this.live ? null : started ? position : this.options.startS);
  }

  private async renew(): Promise<void> {
    try {
      const found = await this.options.renew?.();
      if (found && found.length > 0) this.manifests = found;
    } catch {
      // Nobody answers: the old manifests may still be good.
    }
  }

  // -- watching

  private watch(): void {
    const { video } = this;
    const on = (name: string, then: () => void): void => {
      video.addEventListener(name, then);
      this.cleanups.push(() => video.removeEventListener(name, then));
    };
    const moving = (): void => {
      if (this.firstFrameMs !== null && !video.paused && !video.seeking) this.detector.expect(Date.now(), video.currentTime);
    };
    on("playing", () => {
      if (this.detector.standing(Date.now()) === 0) moving();
    });
    for (const name of ["pause", "seeking", "ended", "emptied"]) on(name, () => this.detector.rest());
    on("seeked", moving);
    for (const name of ["play", "pause", "seeked", "timeupdate", "durationchange", "volumechange", "ended", "waiting", "playing", "progress"]) {
      on(name, () => this.changed());
    }
    this.firstFrame();
    let hungSince = 0;
    let before = video.currentTime;
    const timer = setInterval(() => {
      const now = Date.now();
      if (this.detector.isDark && !video.seeking && video.readyState >= 3 && video.currentTime !== before) this.detector.lit(now, video.currentTime);
      before = video.currentTime;
      this.detector.sample(now, video.currentTime, video.playbackRate, bufferedEnd(video) - video.currentTime);
      // A library that neither plays nor reports: the last line of defence.
      const standing = this.detector.standing(now);
      if (standing > HUNG_MS && now - hungSince > HUNG_MS && !this.recovering && !video.ended) {
        hungSince = now;
        void this.recover("media", `the picture has been standing for ${standing} ms`);
      }
      if (standing > 250) this.changed();
    }, SAMPLE_MS);
    this.cleanups.push(() => clearInterval(timer));
  }

  private firstFrame(): void {
    const shown = (): void => {
      if (this.firstFrameMs !== null || this.closed) return;
      this.firstFrameMs = Math.round(performance.now() - this.askedAt);
      this.recovering = false;
      if (!this.video.paused) this.detector.expect(Date.now(), this.video.currentTime);
      this.changed();
    };
    const { video } = this;
    if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(shown);
    else (video as HTMLVideoElement).addEventListener("loadeddata", shown, { once: true });
  }

  // -- what a page can do

  /** Starts; without sound when the browser allows no sound before a gesture. */
  async play(): Promise<void> {
    try {
      await this.video.play();
    } catch (error) {
      if ((error as DOMException).name !== "NotAllowedError") return;
      this.video.muted = true;
      this.silenced = true;
      this.video.addEventListener("volumechange", () => { this.silenced &&= this.video.muted; });
      await this.video.play().catch(() => undefined);
    }
  }

  pause(): void {
    this.video.pause();
  }

  seek(seconds: number): void {
    const { start, end } = this.span();
    this.video.currentTime = Math.min(Math.max(start, seconds), Math.max(start, end - 0.1));
  }

  goLive(): void {
    const { live } = this.engine?.seekable() ?? { live: 0 };
    if (live > 0) this.video.currentTime = live;
  }

  /** The span one can seek in. */
  span(): { start: number; end: number; live: number } {
    if (this.live) return this.engine?.seekable() ?? { start: 0, end: 0, live: 0 };
    const { duration } = this.video;
    return { start: 0, end: Number.isFinite(duration) ? duration : 0, live: 0 };
  }

  audio(): { all: Choice[]; current: string | null } {
    return this.engine?.audio() ?? { all: [], current: null };
  }
  text(): { all: Choice[]; current: string | null } {
    return this.engine?.text() ?? { all: [], current: null };
  }
  selectAudio(id: string): void {
    this.wanted.audio = id;
    this.engine?.selectAudio(id);
  }
  selectText(id: string | null): void {
    this.wanted.text = id;
    this.engine?.selectText(id);
  }

  get protocol(): Protocol {
    return this.options.protocol ?? "hls";
  }

  get state(): PlayerState {
    const { video } = this;
    if (this.closed) return "closed";
    if (video.ended) return "ended";
    const standing = this.detector.standing(Date.now());
    if (this.detector.isDark) return "recovering";
    if (this.recovering && (this.firstFrameMs === null || standing > 300 || video.readyState < 3)) return "recovering";
    if (this.firstFrameMs === null) return "loading";
    if (video.paused) return "paused";
    return standing > 300 || video.readyState < 3 ? "stalled" : "playing";
  }

  statistics(): PlayerStatistics {
    const { video } = this;
    return {
      player: this.engine?.name ?? "",
      protocol: this.protocol,
      state: this.state,
      live: this.live,
      currentTime: video.currentTime,
      duration: Number.isFinite(video.duration) ? video.duration : 0,
      bufferedEnd: bufferedEnd(video),
      origin: this.origin,
      region: this.options.regionOf?.(this.origin + "/") ?? "",
      stalls: this.detector.stalls,
      jumps: this.detector.jumps,
      standingMs: this.detector.standing(Date.now()) >= GAP_MS ? this.detector.standing(Date.now()) : 0,
      firstFrameMs: this.firstFrameMs,
      rebuilt: this.rebuilt,
      fragments: this.fragments,
      failures: this.failures,
    };
  }

  async close(): Promise<void> {
    this.closed = true;
    this.generation += 1;
    for (const cleanup of this.cleanups) cleanup();
    await this.engine?.destroy();
    this.engine = null;
  }
}

/** Fetch a player's library before it is needed, so that a start does not wait for it. */
export async function preload(wanted: "hls" | "shaka" | undefined): Promise<void> {
  await (wanted === "shaka" ? import("./shaka_engine") : import("./hls_engine"));
}

async function open(wanted: "hls" | "shaka" | undefined, options: EngineOptions): Promise<Engine> {
  if (wanted !== "shaka") {
    const { HlsEngine, isSupported } = await import("./hls_engine");
    // Not canPlayType: Chromium plays HLS natively by now, without any of what makes it survive a region.
    if (wanted === "hls" || isSupported()) return new HlsEngine(options);
  }
  const { ShakaEngine } = await import("./shaka_engine");
  return new ShakaEngine(options);
}

function bufferedEnd(video: HTMLVideoElement): number {
  for (let n = 0; n < video.buffered.length; n += 1) {
    if (video.buffered.start(n) <= video.currentTime + 0.1 && video.currentTime <= video.buffered.end(n)) return video.buffered.end(n);
  }
  return video.currentTime;
}

function push<T>(list: T[], entry: T): void {
  list.push(entry);
  if (list.length > KEPT) list.shift();
}

