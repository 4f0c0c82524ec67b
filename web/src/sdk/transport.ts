/**
 * One call to the service, from the first try to the answer.
 *
 * Promises:
 * - a call ends by its deadline, with an answer, an ApiError or Unreachable;
 * - a critical call is hedged: no answer in 400 ms and the second region is asked too, with the same Idempotency-Key;
 * - a call that cannot be repeated safely (POST without a key) is never sent twice;
 * - second tries stay within the retry budget; 429 and a 503 with Retry-After mean *shed*: never taken to the other
 *   region, repeated once in the same one (design section 5: shed is not dead). Not so what a cell cannot do now and
 *   its twin may (`ELSEWHERE`): that goes to the other region at once, as at the front;
 * - 421 is followed once;
 * - a refusal is passed on as it is only if no other try may have been carried out: else it is `outcome_unknown`, and
 *   the call may be repeated with the same key.
 * May not know: sign-in, storage, what calls mean.
 */
import type { RetryBudget } from "./budget";
import { type Clock, sleep } from "./clock";
import { ApiError, type Problem, Unreachable } from "./errors";
import type { Endpoint, Regions } from "./regions";

export const HEDGE_AFTER_MS = 400;
/** Answers that promise that nothing was done, by the region that gives them. */
const REFUSALS = new Set([421, 429, 502, 503]);
/** Codes of a 503 that say that nothing was done, and not for load: `ELSEWHERE` of `edge/rules.py`. */
const ELSEWHERE = new Set(["slot_frozen", "unavailable"]);

export interface Call {
  method: "GET" | "POST" | "PUT" | "DELETE";
  path: string;
  body?: unknown;
  /** Makes a POST repeatable. */
  key?: string | undefined;
  /** A POST that is repeatable by itself, such as a heartbeat: (sid, seq) is monotonic. */
  repeatable?: boolean;
  headers?: Record<string, string>;
  /** Playback session, tokens, heartbeat: hedged. */
  critical?: boolean;
  /** Of the whole call, all tries included. */
  deadlineMs?: number;
  /** Of one try; a region that hangs costs this much. */
  tryMs?: number;
  /** Sent even when the page goes away. */
  keepalive?: boolean;
  /** Whom to ask, in order; without it the regions decide. */
  via?: Endpoint[];
}

export interface Answer<T> {
  status: number;
  body: T;
  headers: Headers;
  endpoint: Endpoint;
  /** Region and cell that answered, as they said; the endpoint's region when they did not. */
  region: string;
  cell: string;
  /** From the first try to this answer. */
  ms: number;
  /** How many requests were sent. */
  tries: number;
}

export interface Wire {
  fetch: typeof fetch;
  clock: Clock;
  regions: Regions;
  budget: RetryBudget;
}

type Outcome =
  | { kind: "answer"; response: Response; body: unknown }
  | { kind: "moved"; response: Response; body: unknown }
  | { kind: "shed"; response: Response; body: unknown; afterMs: number }
  | { kind: "dead"; cause: unknown; suspect: boolean; response?: Response; body?: unknown };

export async function send<T>(wire: Wire, call: Call): Promise<Answer<T>> {
  return await new Race<T>(wire, call).run();
}

class Race<T> {
  private readonly order: Endpoint[];
  private readonly started: number;
  private readonly running = new Map<Endpoint, AbortController>();
  private readonly over = new AbortController();
  private readonly repeatable: boolean;
  private tries = 0;
  private next = 0;
  private followed = false;
  private shedOnce = false;
  private last: Outcome | null = null;
  private lastFrom = "";
  private settled = false;
  /** A try that changes something ended without an answer: whatever another region says, it may have been carried out. */
  private doubtful = false;
  private resolve!: (answer: Answer<T>) => void;
  private reject!: (error: Error) => void;

  constructor(
    private readonly wire: Wire,
    private readonly call: Call,
  ) {
    this.order = call.via ?? wire.regions.order();
    this.started = wire.clock.now();
    this.repeatable = call.method !== "POST" || call.key !== undefined || call.repeatable === true;
  }

  run(): Promise<Answer<T>> {
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
      if (this.order.length === 0) return reject(new Unreachable(this.name(), []));
      this.wire.budget.earn();
      const deadline = this.wire.clock.after(this.call.deadlineMs ?? 8000, () => this.giveUp());
      this.over.signal.addEventListener("abort", deadline);
      void this.attempt(this.order[this.next++] as Endpoint);
      if (this.call.critical && this.repeatable && this.order.length > 1) {
        const hedge = this.wire.clock.after(HEDGE_AFTER_MS, () => this.another());
        this.over.signal.addEventListener("abort", hedge);
      }
    });
  }

  /** Ask the next region that has not been asked, if there is one and the budget allows it. */
  private another(): boolean {
    while (this.running.has(this.order[this.next] as Endpoint)) this.next += 1; // a 421 has led there already
    if (this.settled || this.next >= this.order.length || !this.wire.budget.spend()) return false;
    void this.attempt(this.order[this.next++] as Endpoint);
    return true;
  }

  private async attempt(endpoint: Endpoint): Promise<void> {
    const abort = new AbortController();
    this.running.set(endpoint, abort);
    this.tries += 1;
    const outcome = await this.ask(endpoint, abort);
    this.running.delete(endpoint);
    if (this.settled) return;
    this.last = outcome;
    this.lastFrom = endpoint.region;
    if (outcome.kind === "answer") return this.settle(endpoint, outcome.response, outcome.body);
    if (outcome.kind === "moved") return this.follow(endpoint, outcome);
    if (outcome.kind === "shed") return await this.waitOut(endpoint, outcome);
    if (outcome.suspect) this.wire.regions.failed(endpoint);
    if (this.call.method !== "GET" && !nothingDone(outcome)) this.doubtful = true;
    if (!this.repeatable) return this.giveUp();
    if (!this.another() && this.running.size === 0) await this.nextRound();
  }

  private async ask(endpoint: Endpoint, abort: AbortController): Promise<Outcome> {
    const { call, wire } = this;
    const cancel = wire.clock.after(call.tryMs ?? 2000, () => abort.abort(new Error("no answer in time")));
    const headers: Record<string, string> = { ...call.headers };
    if (call.body !== undefined) headers["Content-Type"] = "application/json";
    if (call.key !== undefined) headers["Idempotency-Key"] = call.key;
    try {
      const response = await wire.fetch(endpoint.api + call.path, {
        method: call.method,
        headers,
        signal: abort.signal,
        ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
        ...(call.keepalive ? { keepalive: true } : {}),
      });
      // The body belongs to the try: a region that dies in the middle of it has not answered.
      const text = await response.text();
      return judge(response, parse(text));
    } catch (cause) {
      return { kind: "dead", cause, suspect: true };
    } finally {
      cancel();
    }
  }

  private follow(endpoint: Endpoint, outcome: Outcome & { kind: "moved" }): void {
    const owner = outcome.response.headers.get("Eisbach-Owner") ?? "";
    const region = owner.split("/")[0] ?? "";
    const there =
      this.order.find((e) => e.region === region) ?? this.order.find((e) => e.region !== endpoint.region) ?? endpoint;
    if (this.followed) {
      if (this.running.size === 0) this.settle(endpoint, outcome.response, outcome.body);
      return;
    }
    this.followed = true;
    // A 421 was refused before anything happened, so following it is safe even without a key and is no second try.
    if (!this.running.has(there)) void this.attempt(there);
  }

  private async waitOut(endpoint: Endpoint, outcome: Outcome & { kind: "shed" }): Promise<void> {
    const { clock, budget } = this.wire;
    if (this.running.size > 0) return;
    const wait = outcome.afterMs * (1 + clock.random() * 0.25);
    if (this.shedOnce || !this.repeatable || wait > this.left() || !budget.spend()) {
      return this.settle(endpoint, outcome.response, outcome.body);
    }
    this.shedOnce = true;
    this.next = this.order.length;
    await sleep(clock, wait, this.over.signal);
    if (!this.settled) await this.attempt(endpoint);
  }

  /** Every region has failed: all again, after a wait that grows, while the deadline and the budget last. */
  private async nextRound(): Promise<void> {
    const { clock, budget, regions } = this.wire;
    const round = Math.ceil(this.tries / this.order.length);
    const wait = Math.min(2000, 150 * 2 ** round) * (0.5 + clock.random());
    if (wait > this.left() || !budget.spend()) return this.giveUp();
    await sleep(clock, wait, this.over.signal);
    if (this.settled) return;
    this.next = 1;
    if (!this.call.via) this.order.splice(0, this.order.length, ...regions.order());
    await this.attempt(this.order[0] as Endpoint);
  }

  private left(): number {
    return this.started + (this.call.deadlineMs ?? 8000) - this.wire.clock.now();
  }

  private settle(endpoint: Endpoint, response: Response, body: unknown): void {
    this.settled = true;
    const region = response.headers.get("Eisbach-Region") ?? endpoint.region;
    const waiting = this.running.size > 0;
    // Whoever is still being waited for was overtaken: ask it last for a while.
    for (const slower of this.running.keys()) this.wire.regions.failed(slower);
    this.wire.regions.answered(endpoint);
    this.finish();
    if (!response.ok) return this.reject(this.refusal(response, body, region, waiting));
    this.resolve({
      status: response.status,
      body: body as T,
      headers: response.headers,
      endpoint,
      region,
      cell: response.headers.get("Eisbach-Cell") ?? "",
      ms: this.wire.clock.now() - this.started,
      tries: this.tries,
    });
  }

  private giveUp(): void {
    if (this.settled) return;
    this.settled = true;
    const waiting = this.running.size > 0;
    for (const silent of this.running.keys()) this.wire.regions.failed(silent);
    this.finish();
    const last = this.last;
    if (last && "response" in last && last.response) {
      return this.reject(this.refusal(last.response, last.body, this.lastFrom, waiting));
    }
    const cause = last?.kind === "dead" ? last.cause : undefined;
    this.reject(new Unreachable(this.name(), this.order.map((e) => e.region), cause));
  }

  /** What the service said, unless it says that nothing was done while another try may have done it. */
  private refusal(response: Response, body: unknown, region: string, waiting: boolean): ApiError {
    const unsure = this.doubtful || (waiting && this.call.method !== "GET");
    if (!unsure || !REFUSALS.has(response.status)) return new ApiError(response.status, asProblem(response, body), region);
    const detail = "An earlier try had no answer and may have been carried out; repeat the call with the same key.";
    return new ApiError(504, { title: "Outcome unknown", status: 504, code: "outcome_unknown", detail }, region);
  }

  private finish(): void {
    this.over.abort();
    for (const abort of this.running.values()) abort.abort(new Error("no longer wanted"));
  }

  private name(): string {
    return `${this.call.method} ${this.call.path}`;
  }
}

function judge(response: Response, body: unknown): Outcome {
  const { status } = response;
  if (status === 421) return { kind: "moved", response, body };
  if (status === 503 && elsewhere(body)) return { kind: "dead", cause: status, suspect: true, response, body };
  const retryAfter = response.headers.get("Retry-After");
  if (status === 429 || (status === 503 && retryAfter !== null)) {
    const exact = (body as Problem | null)?.retry_after_ms;
    const afterMs = typeof exact === "number" ? exact : Number(retryAfter ?? 1) * 1000 || 1000;
    return { kind: "shed", response, body, afterMs };
  }
  // 500 is a bug of one request, not of a region.
  if (status >= 500) return { kind: "dead", cause: status, suspect: status !== 500, response, body };
  return { kind: "answer", response, body };
}

function elsewhere(body: unknown): boolean {
  return ELSEWHERE.has((body as Problem | null)?.code ?? "");
}

/** A cell's refusal, or the edge's own word that it reached nobody; a 502 of another door says no more than that there was no answer. */
function nothingDone(outcome: Outcome & { kind: "dead" }): boolean {
  const status = outcome.response?.status;
  return (status === 503 && elsewhere(outcome.body)) || (status === 502 && (outcome.body as Problem | null)?.code === "unavailable");
}

function parse(text: string): unknown {
  if (text === "") return null;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function asProblem(response: Response, body: unknown): Problem {
  if (typeof body === "object" && body !== null) return body as Problem;
  return { status: response.status, title: response.statusText, ...(typeof body === "string" ? { detail: body.slice(0, 200) } : {}) };
}
