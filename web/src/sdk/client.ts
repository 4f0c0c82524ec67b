/**
 * The client of a viewer: sign-in, catalogue, continue watching, playback. Knows nothing of pages and players.
 */
import { RetryBudget } from "./budget";
import { type Clock, systemClock } from "./clock";
import { ApiError } from "./errors";
import { Heartbeat, type HeartbeatStatistics } from "./heartbeat";
import { type Claims, Identity } from "./identity";
import { MemoryStorage, type Storage, randomId } from "./keep";
import { type Endpoint, Regions } from "./regions";
import { manifestsOf, toChannels, toHome, toNow, toPlayback, toRails, toResume, toSearchPage, toTitle } from "./shapes";
import { type Answer, type Call, type Wire, send } from "./transport";
import type { AssetRef, Channel, Home, Manifests, MyRails, NowNext, Playback, ResumeEntry, SearchPage, TitleDetail } from "./types";

export interface ClientOptions {
  /** Base URL of the front, or of the node that served the page; no slash at the end. */
  front: string;
  market?: string;
  platform?: "web" | "tv" | "mobile";
  storage?: Storage;
  fetch?: typeof fetch;
  clock?: Clock;
}

export interface Served {
  region: string;
  cell: string;
}

export interface ClientStatistics extends Served {
  regions: { region: string; api: string; media: string }[];
  slot: string;
  budget: { balance: number; spent: number; refused: number };
}

export class Client {
  private readonly wire: Wire;
  private readonly regions: Regions;
  private readonly front: Endpoint;
  private readonly identity: Identity;
  private served: Served = { region: "", cell: "" };

  constructor(options: ClientOptions) {
    const clock = options.clock ?? systemClock;
    this.regions = new Regions(clock);
    this.front = { region: "front", api: options.front, media: "" };
    this.wire = {
      fetch: options.fetch ?? ((...call) => fetch(...call)),
      clock,
      regions: this.regions,
      budget: new RetryBudget(),
    };
    this.identity = new Identity(this.wire, this.regions, {
      front: this.front,
      market: options.market ?? "de",
      platform: options.platform ?? "web",
      storage: options.storage ?? new MemoryStorage(),
    });
  }

  signIn(): Promise<void> {
    return this.identity.ready();
  }

  endpoints(): readonly Endpoint[] {
    return this.regions.all();
  }

  /** Media origins to fetch pictures from, the likeliest to answer first. */
  mediaOrigins(): string[] {
    return this.regions.order().map((e) => e.media).filter((m) => m !== "");
  }

  regionOf(url: string): string {
    return this.regions.byOrigin(url)?.region ?? "";
  }

  claims(): Claims {
    return this.identity.claims();
  }

  get device(): string {
    return this.identity.device;
  }

  statistics(): ClientStatistics {
    return {
      ...this.served,
      regions: this.regions.all().map((e) => ({ ...e })),
      slot: this.identity.slot,
      budget: this.wire.budget.statistics(),
    };
  }

  // -- catalogue: public, cacheable, without any header of the viewer's

  async home(): Promise<Home> {
    await this.signIn();
    const { market, tier, platform, age } = this.claims();
    return toHome((await this.open(`/v1/${market}/${tier}/${platform}/${age}/home`)).body);
  }

  async title(id: string): Promise<TitleDetail> {
    await this.signIn();
    return toTitle((await this.open(`/v1/${this.claims().market}/titles/${encodeURIComponent(id)}`)).body);
  }

  async channels(): Promise<Channel[]> {
    await this.signIn();
    return toChannels((await this.open(`/v1/${this.claims().market}/channels`)).body);
  }

  async now(): Promise<NowNext[]> {
    await this.signIn();
    return toNow((await this.open(`/v1/${this.claims().market}/epg/now`)).body);
  }

  /** Titles that have every word of `words`; `cursor` is that of the page before. */
  async search(words: string, cursor?: string): Promise<SearchPage> {
    await this.signIn();
    const { market, age } = this.claims();
    const query = new URLSearchParams({ q: words, age: String(age), ...(cursor === undefined ? {} : { cursor }) });
    return toSearchPage((await this.open(`/v1/${market}/search?${query.toString()}`)).body);
  }

  private open(path: string): Promise<Answer<unknown>> {
    return send(this.wire, { method: "GET", path, via: this.everywhere() });
  }

  // -- mine

  async rails(): Promise<MyRails> {
    return toRails((await this.mine({ method: "GET", path: "/v1/me/rails" })).body);
  }

  /** The position of a title, or null when there is none. */
  async progress(title: string, via?: Endpoint): Promise<ResumeEntry | null> {
    try {
      const path = `/v1/me/progress/${encodeURIComponent(title)}`;
      const answer = await this.mine({ method: "GET", path, ...(via ? { via: [via], deadlineMs: 2500 } : {}) });
      return toResume(answer.body as Record<string, unknown>);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    }
  }

  /** Durable when it returns. */
  async setProgress(title: string, pos_s: number, dur_s: number): Promise<Served> {
    const answer = await this.mine({
      method: "PUT",
      path: `/v1/me/progress/${encodeURIComponent(title)}`,
      body: { pos_s, dur_s },
    });
    return { region: answer.region, cell: answer.cell };
  }

  async save(title: string): Promise<void> {
    await this.mine({ method: "PUT", path: `/v1/me/watchlist/${encodeURIComponent(title)}` });
  }

  async unsave(title: string): Promise<void> {
    await this.mine({ method: "DELETE", path: `/v1/me/watchlist/${encodeURIComponent(title)}` });
  }

  // -- playback: the critical calls

  /** Raises ApiError: `concurrency` with `conflicts`, `rights_window`, `geo`, `entitlement`, `age_pin` ... */
  async startPlayback(asset: AssetRef, takeover: readonly string[] = []): Promise<Playback> {
    await this.signIn();
    const answer = await this.mine({
      method: "POST",
      path: "/v1/playback/sessions",
      key: randomId(),
      critical: true,
      tryMs: 4000,
      body: {
        asset,
        profile: this.claims().profile,
        device: { id: this.device, plat: this.claims().platform, drm: ["clearkey"] },
        intent: "user",
        ...(takeover.length > 0 ? { takeover } : {}),
      },
    });
    return toPlayback(answer.body, { region: answer.region, cell: answer.cell }, this.regions.all());
  }

  heartbeat(playback: Playback, position: () => number, onStopAdvice?: (reason: string) => void): Heartbeat {
    return new Heartbeat({
      clock: this.wire.clock,
      everyS: playback.heartbeatS,
      jitter: playback.jitter,
      session: playback.token,
      position,
      deliver: async (beat) => {
        const path = `/v1/playback/sessions/${playback.sid}/heartbeat`;
        const answer = await this.mine({ method: "POST", path, body: beat, repeatable: true, critical: true });
        return answer.body as Record<string, unknown> | null;
      },
      ...(onStopAdvice ? { onStopAdvice } : {}),
    });
  }

  /** Manifests with a new media token, for a playback that goes on. */
  async renew(playback: Playback): Promise<Manifests[]> {
    const path = `/v1/playback/sessions/${playback.sid}/token`;
    const answer = await this.mine({ method: "POST", path, body: { session: playback.token }, repeatable: true, critical: true });
    return manifestsOf(answer.body, answer.region, this.regions.all());
  }

  /** Ends a playback; best effort, also while the page goes away. */
  async stop(playback: Playback, pos_s: number, reason: string): Promise<void> {
    const path = `/v1/playback/sessions/${playback.sid}`;
    await this.mine({ method: "DELETE", path, body: { pos_s, reason, session: playback.token }, keepalive: true });
  }

  // -- private calls

  private async mine(call: Call): Promise<Answer<unknown>> {
    await this.signIn();
    try {
      return await this.signed(call);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      await this.identity.renew();
      return await this.signed(call);
    }
  }

  private async signed(call: Call): Promise<Answer<unknown>> {
    const answer = await send(this.wire, {
      via: this.everywhere(),
      ...call,
      headers: { ...call.headers, ...this.identity.headers() },
    });
    this.identity.seen(answer.headers);
    // Cells are told apart by region and name: both regions have a c1.
    this.served = { region: answer.region, cell: answer.cell === "" || answer.cell.includes("/") ? answer.cell : `${answer.region}/${answer.cell}` };
    return answer;
  }

  /** Every region in order, and the front behind them: it may know a way that we do not. */
  private everywhere(): Endpoint[] {
    const known = this.regions.order();
    return known.some((e) => e.api === this.front.api) ? known : [...known, this.front];
  }
}

export type { HeartbeatStatistics };
