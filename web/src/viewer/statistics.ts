/**
 * `window.eisbach`: what the page knows of its own playback, for tests, for the demo page and for the curious.
 * Figures are read when asked for; nothing is sampled for it.
 */
import type { Player, PlayerStatistics } from "../player";
import type { Client, ClientStatistics } from "../sdk";

export interface Statistics extends Omit<PlayerStatistics, "state"> {
  state: PlayerStatistics["state"] | "idle";
  /** Of the last answer to a private call. */
  cell: string;
  apiRegion: string;
  sdk: ClientStatistics;
}

let current: Player | null = null;
let latest: PlayerStatistics | null = null;

export function setCurrent(player: Player): void {
  current = player;
}

export function clearCurrent(player: Player): void {
  if (current !== player) return;
  latest = player.statistics();
  current = null;
}

export const currentPlayer = (): Player | null => current;

const IDLE: Omit<PlayerStatistics, "state"> = {
  player: "", protocol: "hls", live: false, currentTime: 0, duration: 0, bufferedEnd: 0, origin: "", region: "",
  stalls: [], jumps: [], standingMs: 0, firstFrameMs: null, rebuilt: 0, fragments: [], failures: [],
};

export function statistics(client: Client): Statistics {
  const sdk = client.statistics();
  const mine = { cell: sdk.cell, apiRegion: sdk.region, sdk };
  if (current) return { ...current.statistics(), ...mine };
  return { ...IDLE, ...latest, state: "idle", ...mine };
}

/** Defines `window.eisbach` with one live property per figure. */
export function expose(client: Client): void {
  const shown = {};
  for (const key of Object.keys(statistics(client)) as (keyof Statistics)[]) {
    Object.defineProperty(shown, key, { enumerable: true, get: () => statistics(client)[key] });
  }
  Object.defineProperty(window, "eisbach", { value: shown, configurable: true });
}
