import { expect, test } from "vitest";
import { EMPTY, type SideState } from "../src/demo/state";
import { gaps, headline } from "../src/demo/words";

const read = (asked: number, missing: string[] = []): SideState => ({
  ...EMPTY, verified: { kind: "eisbach-verified", asked, missing, regions: {} },
});
const playing = (standingMs: number, gapsSinceFault: number): SideState => ({
  ...EMPTY,
  gapsSinceFault,
  report: {
    kind: "eisbach-report", state: "playing", currentTime: 1, bufferS: 1, origin: "", region: "", cell: "", apiRegion: "",
    stalls: [], standingMs, firstFrameMs: 1, player: "hls", acknowledged: [], refused: 0,
  },
});

test("that nothing was lost is claimed when both sides have been read back, and not before", () => {
  expect(headline(false, true, [EMPTY, read(9)])).toBe("Healed. Reading back what was written …");
  expect(headline(false, true, [read(0), read(9)])).toBe("Healed. Nothing was lost.");
  expect(headline(false, true, [read(0), read(0)])).toBe("Healed.");
  expect(headline(false, true, [EMPTY, read(9, ["note-1"])])).toBe("Healed, but something is missing.");
});

test("a page that says nothing has no known number of gaps", () => {
  expect(gaps({ ...EMPTY, gapsSinceFault: 0 }, 1000)).toBe("–");
  expect(gaps(playing(0, 2), 1000)).toBe("2");
  expect(gaps(playing(4200, 0), 1000)).toBe("4 s now");
});
