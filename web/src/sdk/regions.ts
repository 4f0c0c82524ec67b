/**
 * Which region to ask first. Sign-in lists the endpoints in the order the slot prefers; a region that just failed or
 * was overtaken goes to the end for a while, so that one dead region costs one wait and not one wait a call.
 */
import type { Clock } from "./clock";

export interface Endpoint {
  region: string;
  /** Base URL of the edge. */
  api: string;
  /** Base URL of the media origin. */
  media: string;
}

const SUSPECT_FIRST_MS = 10_000;
const SUSPECT_MOST_MS = 60_000;

interface Doubt {
  until: number;
  length: number;
}

export class Regions {
  private doubts = new Map<string, Doubt>();
  private answering: string | null = null;

  constructor(
    private readonly clock: Clock,
    private endpoints: readonly Endpoint[] = [],
  ) {}

  /** Endpoints in the slot's order; an empty list changes nothing. */
  learn(endpoints: readonly Endpoint[]): void {
    if (endpoints.length > 0) this.endpoints = endpoints;
  }

  all(): readonly Endpoint[] {
    return this.endpoints;
  }

  /** At least one endpoint when any is known; suspects last, else in the slot's order. */
  order(): Endpoint[] {
    const now = this.clock.now();
    const doubt = (e: Endpoint): number => Math.max(0, (this.doubts.get(e.api)?.until ?? 0) - now);
    return [...this.endpoints].sort((a, b) => doubt(a) - doubt(b));
  }

  answered(endpoint: Endpoint): void {
    this.doubts.delete(endpoint.api);
    this.answering = endpoint.region;
  }

  /** No answer, or later than the other region's: ask it last, the longer the more often this happens. */
  failed(endpoint: Endpoint): void {
    const now = this.clock.now();
    const before = this.doubts.get(endpoint.api);
    const again = before !== undefined && before.until + SUSPECT_MOST_MS > now;
    const length = again ? Math.min(SUSPECT_MOST_MS, before.length * 2) : SUSPECT_FIRST_MS;
    // Within one doubt several calls fail together: they count once.
    if (before === undefined || before.until <= now) this.doubts.set(endpoint.api, { until: now + length, length });
  }

  /** The region whose answer came last; null before the first. */
  current(): string | null {
    return this.answering;
  }

  byRegion(region: string): Endpoint | undefined {
    return this.endpoints.find((e) => e.region === region);
  }

  byOrigin(url: string): Endpoint | undefined {
    return this.endpoints.find((e) => url.startsWith(`${e.media}/`) || url.startsWith(`${e.api}/`));
  }
}
