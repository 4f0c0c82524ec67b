/**
 * How long a player waits before it turns to the other region. Measured, not guessed: with the players' own settings a
 * hanging region froze the picture for more than ten seconds, with these not at all (reference/media.md section 4).
 */
import type { HlsConfig, LoadPolicy } from "hls.js";

/** No first byte in this time: the origin hangs. */
export const FIRST_BYTE_MS = 1500;
/** A segment that trickles is given up after this; three segment lengths, so that a slow link is not taken for a dead region. */
export const WHOLE_SEGMENT_MS = 6000;
/** Distance to the live edge. Four segments: time to notice a hanging playlist and a hanging segment, one after the other. */
export const LIVE_DELAY_S = 8;

const policy = (firstByteMs: number, wholeMs: number, again = 0): LoadPolicy => ({
  default: {
    maxTimeToFirstByteMs: firstByteMs,
    maxLoadTimeMs: wholeMs,
    // No second try at the same place: the other region is the second try.
    timeoutRetry: { maxNumRetry: again, retryDelayMs: 0, maxRetryDelayMs: 0 },
    errorRetry: { maxNumRetry: again, retryDelayMs: 100, maxRetryDelayMs: 200 },
  },
});

export function hlsSettings(bufferS: number | null): Partial<HlsConfig> {
  return {
    fragLoadPolicy: policy(FIRST_BYTE_MS, WHOLE_SEGMENT_MS),
    playlistLoadPolicy: policy(FIRST_BYTE_MS, 4000),
    manifestLoadPolicy: policy(FIRST_BYTE_MS, 4000),
    steeringManifestLoadPolicy: policy(1000, 2000),
    maxBufferLength: bufferS ?? 30,
    maxMaxBufferLength: bufferS ?? 60,
    backBufferLength: 60,
    liveSyncDuration: LIVE_DELAY_S,
    // Only a player that fell out of the window jumps forward; a late one stays late rather than skip.
    liveMaxLatencyDuration: 28,
    liveDurationInfinity: true,
    capLevelToPlayerSize: true,
    lowLatencyMode: false,
    startFragPrefetch: true,
  };
}

export function shakaSettings(bufferS: number | null): object {
  const retryParameters = {
    maxAttempts: 4,
    baseDelay: 100,
    backoffFactor: 1.5,
    fuzzFactor: 0.2,
    timeout: WHOLE_SEGMENT_MS,
    stallTimeout: FIRST_BYTE_MS,
    connectionTimeout: FIRST_BYTE_MS,
  };
  return {
    manifest: {
      retryParameters,
      defaultPresentationDelay: LIVE_DELAY_S,
      raiseFatalErrorOnManifestUpdateRequestFailure: false,
      dash: { ignoreSuggestedPresentationDelay: true },
    },
    streaming: { retryParameters, bufferingGoal: bufferS ?? 30, bufferBehind: 60, rebufferingGoal: 0.2 },
  };
}
