/**
 * Finds gaps: time in which the picture should have moved and did not.
 *
 * Fed with (wall clock, media clock) pairs, however irregularly: a gap is wall time that passed without media time.
 * So a page that was in the background, or a busy machine that samples late, does not count as a gap, and one that is
 * found late still has its true length. Gaps below 300 ms are not noticed by viewers (reference/media.md section 0).
 */
export const GAP_MS = 300;
const KEPT = 500;

export interface Stall {
  /** Wall clock, milliseconds since 1970, when the picture stopped. */
  at: number;
  ms: number;
  /** Media time in seconds. */
  position: number;
  /** Seconds that were buffered ahead when the picture stopped: near 0, the network's gap; more, the machine's. */
  ahead: number;
}

export interface Jump {
  at: number;
  /** Media seconds that were left out (or, negative, shown again) without anybody asking. */
  seconds: number;
}

export class StallDetector {
  readonly stalls: Stall[] = [];
  readonly jumps: Jump[] = [];
  private wall: number | null = null;
  private media = 0;
  private ahead = 0;
  private dark: number | null = null;

  /** The picture is expected to move from here on: play, end of a seek. */
  expect(wall: number, media: number): void {
    if (this.dark !== null) return;
    this.wall = wall;
    this.media = media;
  }

  /** The picture may stand: paused, seeking, ended. */
  rest(): void {
    this.wall = null;
  }

  /**
   * The player is taken apart and built anew, so the media clock means nothing until `lit`: the picture counts as
   * standing, from when it really stopped.
   */
  darken(wall: number): void {
    this.dark ??= this.wall ?? wall;
  }

  /** The new player's picture moves: what lies between is one gap. */
  lit(wall: number, media: number): void {
    if (this.dark === null) return;
    const ms = Math.round(wall - this.dark);
    if (ms >= GAP_MS) push(this.stalls, { at: this.dark, ms, position: this.media, ahead: 0 });
    this.dark = null;
    this.expect(wall, media);
  }

  get isDark(): boolean {
    return this.dark !== null;
  }

  sample(wall: number, media: number, rate = 1, ahead = 0): void {
    if (this.dark !== null || this.wall === null || media === this.media) return;
    const passed = wall - this.wall;
    // Shaka holds the picture by setting the rate to 0 while it buffers; time that passes then is a gap like any other.
    const moved = ((media - this.media) * 1000) / (rate > 0 ? rate : 1);
    if (passed - moved >= GAP_MS) push(this.stalls, { at: this.wall, ms: Math.round(passed - moved), position: this.media, ahead: this.ahead });
    if (moved < -50 || moved - passed >= GAP_MS) push(this.jumps, { at: wall, seconds: (moved - passed) / 1000 });
    this.wall = wall;
    this.media = media;
    this.ahead = ahead;
  }

  /** For how long the picture has been standing now, in milliseconds; 0 while it moves or may stand. */
  standing(wall: number): number {
    const since = this.dark ?? this.wall;
    return since === null ? 0 : Math.max(0, wall - since);
  }
}

function push<T>(list: T[], entry: T): void {
  list.push(entry);
  if (list.length > KEPT) list.shift();
}
