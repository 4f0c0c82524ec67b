/**
 * Who the viewer is: anonymous sign-in from a device id, renewed before it runs out. When renewing fails because
 * nobody answers, the old token is used on: the service accepts it for hours (design section 6, in the viewer's favour).
 */
import type { Clock } from "./clock";
import { ApiError } from "./errors";
import { type Storage, randomId } from "./keep";
import { type Position, mergePositions, parsePosition } from "./position";
import type { Endpoint, Regions } from "./regions";
import { toEndpoint, toSignedIn } from "./shapes";
import { type Call, type Wire, send } from "./transport";

const RENEW_BEFORE_MS = 60_000;
const RENEW_EVERY_MS = 20_000;

export interface Claims {
  profile: string;
  market: string;
  tier: string;
  platform: string;
  age: number;
}

interface Kept {
  access: string;
  refresh: string;
  expiresMs: number;
  slot: string;
  market: string;
  profile: string;
  tier: string;
  age: number;
}

export interface IdentityOptions {
  front: Endpoint;
  market: string;
  platform: string;
  storage: Storage;
}

export class Identity {
  private kept: Kept | null;
  private position: Position;
  private triedMs = Number.NEGATIVE_INFINITY;
  private going: Promise<void> | null = null;
  readonly device: string;

  constructor(
    private readonly wire: Wire,
    private readonly regions: Regions,
    private readonly options: IdentityOptions,
  ) {
    const { storage } = options;
    this.device = storage.get("device") ?? randomId();
    storage.set("device", this.device);
    this.kept = read<Kept>(storage, "signed-in");
    if (this.kept && this.kept.market !== options.market) this.kept = null;
    this.position = parsePosition(storage.get("position")) ?? {};
    const endpoints = read<unknown[]>(storage, "endpoints");
    if (this.kept && Array.isArray(endpoints)) regions.learn(endpoints.map(toEndpoint));
  }

  private get clock(): Clock {
    return this.wire.clock;
  }

  /** Signed in. A token that runs out soon is renewed beside the call, which does not wait for it. */
  async ready(): Promise<void> {
    if (!this.kept) return await this.renew();
    const now = this.clock.now();
    if (this.kept.expiresMs - now > RENEW_BEFORE_MS || now - this.triedMs < RENEW_EVERY_MS) return;
    this.triedMs = now;
    this.renew().catch(() => undefined); // the old token goes on; a 401 makes the next caller wait for a new one
  }

  /** A new token now: by refresh when there is one, else by device id. */
  async renew(): Promise<void> {
    this.going ??= this.obtain().finally(() => {
      this.going = null;
    });
    await this.going;
  }

  private async obtain(): Promise<void> {
    if (this.kept) {
      try {
        return await this.ask("/v1/auth/token", { grant_type: "refresh", refresh: this.kept.refresh });
      } catch (error) {
        if (!(error instanceof ApiError)) return; // nobody there: the old token goes on being accepted
      }
      // Refused: this is a service that does not know us, so what it has seen of us is nothing either.
      this.position = {};
      this.options.storage.remove("position");
    }
    await this.ask("/v1/auth/anonymous", {
      device_id: this.device,
      plat: this.options.platform,
      mkt: this.options.market,
    });
  }

  private async ask(path: string, body: object): Promise<void> {
    // The front first: it is the one name outside all regions, and the page came from it. Sign-in is derived from the
    // device id, so asking twice has one effect.
    const known = this.regions.order().filter((e) => e.api !== this.options.front.api);
    const call: Call = {
      method: "POST",
      path,
      body,
      key: randomId(),
      critical: true,
      via: [this.options.front, ...known],
      headers: this.kept ? { "Eisbach-Slot": this.kept.slot } : {},
    };
    const answer = await send(this.wire, call);
    const signedIn = toSignedIn(answer.body);
    this.kept = {
      access: signedIn.access,
      refresh: signedIn.refresh,
      expiresMs: this.clock.now() + signedIn.expires_in * 1000,
      slot: signedIn.slot,
      market: this.options.market,
      profile: signedIn.profile,
      tier: signedIn.tier,
      age: signedIn.age,
    };
    this.regions.learn(signedIn.endpoints);
    this.options.storage.set("signed-in", JSON.stringify(this.kept));
    if (signedIn.endpoints.length > 0) this.options.storage.set("endpoints", JSON.stringify(signedIn.endpoints));
  }

  /** Headers of a private call. */
  headers(): Record<string, string> {
    if (!this.kept) return {};
    const headers: Record<string, string> = { Authorization: `Bearer ${this.kept.access}`, "Eisbach-Slot": this.kept.slot };
    if (Object.keys(this.position).length > 0) headers["Eisbach-Position"] = JSON.stringify(this.position);
    return headers;
  }

  /** Take in what an answer says about how far the viewer's writes have got. */
  seen(headers: Headers): void {
    const found = parsePosition(headers.get("Eisbach-Position"));
    if (!found) return;
    this.position = mergePositions(this.position, found);
    this.options.storage.set("position", JSON.stringify(this.position));
  }

  get slot(): string {
    return this.kept?.slot ?? "";
  }

  get at(): Position {
    return this.position;
  }

  /** What public URLs are made of. */
  claims(): Claims {
    const { profile = "p1", tier = "free", age = 12 } = this.kept ?? {};
    return { profile, tier, age, market: this.options.market, platform: this.options.platform };
  }
}

function read<T>(storage: Storage, key: string): T | null {
  try {
    return JSON.parse(storage.get(key) ?? "null") as T | null;
  } catch {
    return null;
  }
}
