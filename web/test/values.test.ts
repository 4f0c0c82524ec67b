import { expect, test } from "vitest";
import { RetryBudget } from "../src/sdk/budget";
import { mergePositions, parsePosition } from "../src/sdk/position";
import { toHome, toManifests, toNow, toSearchPage } from "../src/sdk/shapes";

test("a position keeps the furthest of each origin", () => {
  const merged = mergePositions({ a: [1, 9], b: [2, 1] }, { a: [1, 3], b: [3, 0], c: [1, 1] });

  expect(merged).toEqual({ a: [1, 9], b: [3, 0], c: [1, 1] });
});

test("a header that is no position is passed over", () => {
  for (const text of [null, "", "x", "[]", '{"a":1}', '{"a":[1]}', '{"a":[1,-2]}', '{"a":[1.5,2]}', "null"]) {
    expect(parsePosition(text)).toBe(null);
  }
});

test("ten first tries earn one second try", () => {
  const budget = new RetryBudget(0.1, 1);
  budget.spend();

  const before = budget.spend();
  for (let n = 0; n < 10; n += 1) budget.earn();

  expect([before, budget.spend(), budget.spend()]).toEqual([false, true, false]);
});

test("the manifest of a region that the answer leaves out is the same path on its origin", () => {
  const endpoints = [
    { region: "a", api: "http://a:1", media: "http://a:2" },
    { region: "b", api: "http://b:1", media: "http://b:2" },
  ];

  const found = toManifests({ hls: "http://b:2/t/T/m.m3u8", dash: "http://b:2/t/T/m.mpd" }, "b", endpoints);

  expect(found).toEqual([
    { region: "b", hls: "http://b:2/t/T/m.m3u8", dash: "http://b:2/t/T/m.mpd" },
    { region: "a", hls: "http://a:2/t/T/m.m3u8", dash: "http://a:2/t/T/m.mpd" },
  ]);
});

test("an empty rail is left out and what is unknown is ignored", () => {
  const home = toHome({ version: 3, rails: [{ id: "x", items: [], odd: 1 }, { id: "y", kind: "hero", title: "Y", items: [{ id: "t", asset: "as" }] }] });

  expect(home.rails.map((r) => [r.id, r.kind, r.names["en"], r.items[0]?.poster])).toEqual([["y", "hero", "Y", "/img/as/poster.jpg"]]);
});

test("now and next are read in either shape", () => {
  const flat = toNow([{ channel: "c", now: { title: "t", names: { en: "T" }, asset: "a", from_ms: 1, to_ms: 2 }, next: null }]);
  const nested = toNow({ channels: [{ channel: "c", now: { prog: { title: "t", names: { en: "T" }, asset: "a" }, from: 1, to: 2 }, next: null }] });

  expect(flat).toEqual(nested);
});

test("the last page of a search has no cursor, and a hit without an id is passed over", () => {
  const page = toSearchPage({ hits: [{ id: "a", names: { en: "A" } }, { names: { en: "?" } }], took_ms: 1, degraded: false });
  const more = toSearchPage({ hits: [], cursor: "abc", degraded: true });

  expect([page.hits.map((c) => c.id), page.cursor, page.degraded]).toEqual([["a"], undefined, false]);
  expect([more.cursor, more.degraded]).toEqual(["abc", true]);
});
