/** The client SDK of Eisbach: everything a viewer app needs to know of the service, and nothing of a page. */
export { Client, type ClientOptions, type ClientStatistics, type Served } from "./client";
export { type Clock, systemClock } from "./clock";
export { ApiError, type Problem, Unreachable } from "./errors";
export { Heartbeat, type HeartbeatStatistics, type PlayState } from "./heartbeat";
export { BrowserStorage, MemoryStorage, type Storage, randomId } from "./keep";
export type { Endpoint } from "./regions";
export type * from "./types";
