/** The player: one interface over hls.js and Shaka Player, with failover between regions and honest statistics. */
export type { Choice, Fetched, Protocol, Source } from "./engine";
export { Player, preload, type PlayerOptions, type PlayerState, type PlayerStatistics } from "./player";
export type { Stall } from "./stalls";
export { type Tile, loadThumbnails, tileAt } from "./thumbnails";
