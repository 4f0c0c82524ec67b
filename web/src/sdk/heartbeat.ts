/**
 * The heartbeat of one playback. It tells the service where the viewer is; it never stops playback by failing: refused,
 * garbled, late or unanswered, the next beat simply comes. Only a well-formed answer that asks to stop is handed on,
 * and the page decides.
 *
 * `seq` rises by one with every beat, so that a late one is recognised; a region that has never heard of the session
 * adopts it from the signed token in the body.
 */
import type { Clock } from "./clock";

export type PlayState = "playing" | "paused" | "seeking" | "stopped";

export interface Beat {
  seq: number;
  pos_s: number;
  state: PlayState;
  session: string;
}

export interface BeatAnswer {
  action?: unknown;
  heartbeat_s?: unknown;
  session?: unknown;
  reason?: unknown;
}

export interface HeartbeatOptions {
  clock: Clock;
  everyS: number;
  jitter: number;
  session: string;
  /** Delivers a beat; may fail in any way. */
  deliver: (beat: Beat) => Promise<BeatAnswer | null>;
  position: () => number;
  /** The service asks to stop, e.g. because the account plays elsewhere. */
  onStopAdvice?: (reason: string) => void;
}

export interface HeartbeatStatistics {
  sent: number;
  answered: number;
  failed: number;
  seq: number;
  everyS: number;
}

export class Heartbeat {
  private seq = 0;
  private answered = 0;
  private failed = 0;
  private everyS: number;
  private session: string;
  private state: PlayState = "playing";
  private cancel: (() => void) | null = null;
  private ended = false;

  constructor(private readonly options: HeartbeatOptions) {
    this.everyS = options.everyS;
    this.session = options.session;
  }

  start(): void {
    this.schedule();
  }

  /** Pause, play, seek and stop are told at once: they become durable. */
  async changed(state: PlayState): Promise<void> {
    this.state = state === "seeking" ? this.state : state;
    if (!this.ended) await this.beat(state);
  }

  /** No more beats. */
  end(): void {
    this.ended = true;
    this.cancel?.();
  }

  statistics(): HeartbeatStatistics {
    return { sent: this.seq, answered: this.answered, failed: this.failed, seq: this.seq, everyS: this.everyS };
  }

  private schedule(): void {
    this.cancel?.();
    if (this.ended) return;
    const { clock, jitter } = this.options;
    const wait = this.everyS * 1000 * (1 - jitter / 2 + jitter * clock.random());
    this.cancel = clock.after(wait, () => {
      this.schedule();
      if (this.state !== "stopped") void this.beat(this.state);
    });
  }

  private async beat(state: PlayState): Promise<void> {
    this.seq += 1;
    let answer: BeatAnswer | null;
    try {
      answer = await this.options.deliver({ seq: this.seq, pos_s: this.options.position(), state, session: this.session });
    } catch {
      this.failed += 1; // playback goes on; the next beat is already scheduled
      return;
    }
    if (typeof answer !== "object" || answer === null) {
      this.failed += 1;
      return;
    }
    this.answered += 1;
    this.take(answer);
  }

  private take(answer: BeatAnswer): void {
    const { heartbeat_s: everyS, session, action, reason } = answer;
    if (typeof everyS === "number" && everyS >= 5 && everyS <= 600 && everyS !== this.everyS) {
      this.everyS = everyS;
      this.schedule();
    }
    if (typeof session === "string" && session !== "") this.session = session;
    // After "stopped" the answer is "stop": it says what we know.
    if (action === "stop" && !this.ended && this.state !== "stopped") this.options.onStopAdvice?.(typeof reason === "string" ? reason : "");
  }
}
