/**
 * A playback as the page holds it: the session with the service, the player, and the heartbeat between the two.
 */
import { Player, type Protocol, preload } from "../player";
import { ApiError, type AssetRef, type Client, type Conflict, Unreachable, type Heartbeat, type Playback } from "../sdk";
import { clearCurrent, setCurrent } from "./statistics";

export type Phase =
  | { name: "starting" }
  | { name: "unreachable" }
  | { name: "refused"; code: string }
  | { name: "crowded"; conflicts: Conflict[] }
  | { name: "advised"; reason: string }
  | { name: "playing"; player: Player; playback: Playback };

export interface Wishes {
  engine: "hls" | "shaka" | undefined;
  protocol: Protocol | undefined;
  bufferS: number | null;
  muted: boolean;
}

export function wishes(query: URLSearchParams): Wishes {
  const engine = query.get("player");
  const buffer = Number(query.get("buffer"));
  return {
    engine: engine === "hls" || engine === "shaka" ? engine : undefined,
    protocol: query.get("protocol") === "dash" ? "dash" : undefined,
    bufferS: Number.isFinite(buffer) && buffer >= 2 ? buffer : null,
    muted: query.has("muted"),
  };
}

export class Watching {
  phase: Phase = { name: "starting" };
  private heartbeat: Heartbeat | null = null;
  private closed = false;
  private readonly cleanups: (() => void)[] = [];

  constructor(
    private readonly client: Client,
    private readonly asset: AssetRef,
    private readonly video: HTMLVideoElement,
    private readonly options: { wishes: Wishes; askedAt: number; changed: () => void },
  ) {
    addEventListener("pagehide", this.leave);
    // Beside the call, not after it. Should it fail, opening the player asks for it again.
    const { engine, protocol } = options.wishes;
    preload(protocol === "dash" ? "shaka" : engine).catch(() => undefined);
    void this.start([]);
  }

  private readonly leave = (): void => void this.stop("closed");

  private show(phase: Phase): void {
    this.phase = phase;
    this.options.changed();
  }

  /** Starts, and goes on trying while nobody answers. */
  async start(takeover: readonly string[]): Promise<void> {
    await this.release("again");
    if (this.phase.name !== "starting") this.show({ name: "starting" });
    for (let wait = 500; !this.closed; wait = Math.min(5000, wait * 2)) {
      try {
        const playback = await this.client.startPlayback(this.asset, takeover);
        if (this.closed) return void this.client.stop(playback, 0, "closed").catch(() => undefined);
        return this.play(playback);
      } catch (error) {
        if (error instanceof ApiError && error.status < 500 && error.status !== 429) return this.show(refusal(error));
        if (!(error instanceof ApiError) && !(error instanceof Unreachable)) throw error;
        this.show({ name: "unreachable" });
        await new Promise((done) => setTimeout(done, wait));
      }
    }
  }

  private play(playback: Playback): void {
    const { wishes: wanted, askedAt } = this.options;
    const live = this.asset.type === "live";
    if (wanted.muted) this.video.muted = true;
    const player = new Player({
      video: this.video,
      source: { manifests: playback.manifests, live },
      startS: live || playback.startS <= 0 ? null : playback.startS,
      engine: wanted.engine,
      protocol: wanted.protocol,
      bufferS: wanted.bufferS,
      askedAt,
      regionOf: (url) => this.client.regionOf(url),
      renew: async () => {
        try {
          return await this.client.renew(playback);
        } catch (error) {
          // The session is not known any more: a new one, under the same rules.
          if (error instanceof ApiError) return (await this.client.startPlayback(this.asset)).manifests;
          throw error;
        }
      },
    });
    setCurrent(player);
    this.beat(playback, player);
    this.show({ name: "playing", player, playback });
    this.cleanups.push(player.subscribe(this.options.changed));
  }

  private beat(playback: Playback, player: Player): void {
    const heartbeat = this.client.heartbeat(playback, () => Math.max(0, this.video.currentTime), (reason) => {
      player.pause();
      void player.close();
      this.show({ name: "advised", reason });
    });
    this.heartbeat = heartbeat;
    heartbeat.start();
    const on = (name: string, then: () => void): void => {
      this.video.addEventListener(name, then);
      this.cleanups.push(() => this.video.removeEventListener(name, then));
    };
    on("pause", () => void heartbeat.changed("paused"));
    on("play", () => void heartbeat.changed("playing"));
    on("seeked", () => {
      // The first seek is the player's own, to the start position.
      if (player.statistics().firstFrameMs !== null) void heartbeat.changed("seeking");
    });
  }

  /** Ends the playback with the service; the position becomes durable. */
  async stop(reason: string): Promise<void> {
    if (this.phase.name !== "playing") return;
    const { playback } = this.phase;
    this.heartbeat?.end();
    await this.client.stop(playback, Math.max(0, this.video.currentTime), reason).catch(() => undefined);
  }

  /** Lets go of what plays now, if anything does. */
  private async release(reason: string): Promise<void> {
    for (const cleanup of this.cleanups.splice(0)) cleanup();
    const { phase } = this;
    void this.stop(reason);
    this.heartbeat?.end();
    this.heartbeat = null;
    if (phase.name !== "playing") return;
    clearCurrent(phase.player);
    await phase.player.close();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    removeEventListener("pagehide", this.leave);
    void this.release("user");
  }
}

function refusal(error: ApiError): Phase {
  if (error.code === "concurrency" && Array.isArray(error.problem["conflicts"])) {
    return { name: "crowded", conflicts: error.problem["conflicts"] as Conflict[] };
  }
  return { name: "refused", code: error.code };
}
