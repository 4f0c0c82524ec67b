import { expect, test } from "vitest";
import { Origins } from "../src/player/origins";
import { StallDetector } from "../src/player/stalls";
import { parseThumbnails, tileAt } from "../src/player/thumbnails";
import { distance } from "../src/viewer/focus";
import { parseAddress } from "../src/viewer/router";
import { duration } from "../src/viewer/texts";

test("a picture that stood for 300 ms is a gap, with when it began and how long it was", () => {
  const detector = new StallDetector();
  detector.expect(1000, 0);
  detector.sample(1050, 0.05);
  for (let at = 1100; at < 1450; at += 50) detector.sample(at, 0.05);
  detector.sample(1450, 0.1);

  expect(detector.stalls.map(({ at, ms }) => [at, ms])).toEqual([[1050, 350]]);
});

test("less than 300 ms is no gap", () => {
  const detector = new StallDetector();
  detector.expect(1000, 0);
  detector.sample(1290, 0.01);

  expect(detector.stalls).toEqual([]);
});

test("a page that samples late has no gap as long as the picture moved on", () => {
  const detector = new StallDetector();
  detector.expect(0, 0);
  detector.sample(20_000, 20);

  expect(detector.stalls).toEqual([]);
});

test("a picture held by setting the rate to 0 is a gap like any other", () => {
  const detector = new StallDetector();
  detector.expect(0, 5);
  detector.sample(2000, 5.1, 0);

  expect(detector.stalls.map((s) => s.ms)).toEqual([1900]);
});

test("a player that is built anew has one gap, from when the picture stopped to when it moves again", () => {
  const detector = new StallDetector();
  detector.expect(1000, 40);
  detector.sample(1050, 40.05);
  detector.darken(9000);
  detector.darken(12_000);
  detector.rest();
  detector.expect(15_000, 0);
  detector.sample(15_050, 3);
  const standing = detector.standing(16_050);
  detector.lit(21_050, 7);
  detector.sample(21_100, 7.05);

  expect(standing).toBe(15_000);
  expect(detector.stalls.map(({ at, ms }) => [at, ms])).toEqual([[1050, 20_000]]);
});

test("pausing and seeking are no gaps", () => {
  const detector = new StallDetector();
  detector.expect(0, 5);
  detector.rest();
  detector.sample(9000, 5);
  detector.expect(9000, 60);
  detector.sample(9100, 60.1);

  expect([detector.stalls, detector.jumps]).toEqual([[], []]);
});

test("media that are left out are a jump, not playing", () => {
  const detector = new StallDetector();
  detector.expect(0, 0);
  detector.sample(100, 4.1);

  expect(detector.jumps.map((j) => Math.round(j.seconds))).toEqual([4]);
});

test("every request gets the same path on the other origin, and a suspect one comes last for ten seconds", () => {
  let now = 0;
  const origins = new Origins(() => now);
  origins.add("http://a:1/t/T/master.m3u8");
  origins.add("http://b:1/t/T/master.m3u8");

  const healthy = origins.spread(["http://a:1/t/T/v/1.m4s"]);
  origins.failed("http://a:1/t/T/v/1.m4s");
  const suspect = origins.spread(["http://a:1/t/T/v/2.m4s"]);
  now = 10_001;
  const again = origins.spread(["http://a:1/t/T/v/3.m4s"]);

  expect(healthy).toEqual(["http://a:1/t/T/v/1.m4s", "http://b:1/t/T/v/1.m4s"]);
  expect(suspect).toEqual(["http://b:1/t/T/v/2.m4s", "http://a:1/t/T/v/2.m4s"]);
  expect(again[0]).toBe("http://a:1/t/T/v/3.m4s");
});

test("a request to somewhere else is left as it is", () => {
  const origins = new Origins(() => 0);
  origins.add("http://a:1/x");

  expect(origins.spread(["http://steering:9/steer"])).toEqual(["http://steering:9/steer"]);
});

test("thumbnails say which tile belongs to which second", () => {
  const tiles = parseThumbnails("WEBVTT\r\n\r\n00:00.000 --> 00:04.000\r\nsprite.jpg#xywh=0,0,160,90\r\n\r\n00:00:04.000 --> 00:00:08.000\r\nsprite.jpg#xywh=160,0,160,90\r\n", "http://a/img/x/thumbs.vtt");

  expect([tileAt(tiles, 3.9)?.x, tileAt(tiles, 4)?.x, tileAt(tiles, 8)]).toEqual([0, 160, null]);
  expect(tiles[0]?.url).toBe("http://a/img/x/sprite.jpg");
});

test("addresses are read strictly", () => {
  expect(parseAddress("#/watch/big-buck")).toEqual({ page: "watch", id: "big-buck" });
  expect(["", "#/", "#/live"].map((h) => parseAddress(h).page)).toEqual(["home", "home", "channels"]);
  expect(["#/watch", "#/watch/%", "#/a/b", "#/title/a/b"].map((h) => parseAddress(h).page)).toEqual(Array(4).fill("unknown"));
});

test("right stays in the row, down prefers the column", () => {
  const from = { left: 0, right: 100, top: 0, bottom: 50 };
  const right = { left: 110, right: 210, top: 0, bottom: 50 };
  const below = { left: 0, right: 100, top: 60, bottom: 110 };
  const askew = { left: 400, right: 500, top: 60, bottom: 110 };

  expect(distance(from, below, [1, 0])).toBe(null);
  expect(distance(from, right, [1, 0])).not.toBe(null);
  expect(distance(from, below, [0, 1]) as number).toBeLessThan(distance(from, askew, [0, 1]) as number);
});

test("durations", () => {
  expect([0, 67.9, 3753, -1].map(duration)).toEqual(["0:00", "1:07", "1:02:33", "0:00"]);
});
