import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { systemClock } from "../src/sdk/clock";
import { Client } from "../src/sdk/client";
import { MemoryStorage } from "../src/sdk/keep";
import { A, B, type Behaviour, FRONT, Service, json, within } from "./service";

let service: Service;
let storage: MemoryStorage;
let client: Client;

const signedIn = {
  access: "access-1", account: "a-1", profile: "p1", tier: "free", age: 12,
  refresh: "refresh-1",
  expires_in: 900,
  slot: "eu/de/main/17",
  endpoints: [A, B],
};
const session = {
  sid: "s-1", session: "signed", lease: { heartbeat_s: 30, jitter: 0 }, start_pos_s: 12,
  manifests: { hls: "http://media-b/t/T/vod/x/master.m3u8", dash: "http://media-b/t/T/vod/x/manifest.mpd" },
};

function region(name: string): Behaviour {
  return (request) => {
    const said = { "Eisbach-Region": name, "Eisbach-Cell": "c1", "Eisbach-Position": JSON.stringify({ [name]: [1, service.requests.length] }) };
    if (request.path.startsWith("/v1/auth")) return json(200, signedIn, said);
    if (request.path.endsWith("/heartbeat")) return json(200, { action: "continue" }, said);
    if (request.path === "/v1/playback/sessions") return json(201, session, said);
    if (request.path.includes("/me/")) return json(request.method === "GET" ? 200 : 204, { resume: [], watchlist: [] }, said);
    return json(200, { version: "1", rails: [] }, said);
  };
}

const make = (): Client => new Client({ front: FRONT, storage, fetch: service.fetch, clock: { ...systemClock, random: () => 0.5 } });

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
  service = new Service();
  storage = new MemoryStorage();
  service.on(FRONT, region("eu-central"));
  service.on(A, region("eu-central"));
  service.on(B, region("eu-west"));
  client = make();
});
afterEach(() => vi.useRealTimers());

test("the first call goes to the front, the next ones to the region that the slot prefers", async () => {
  await within(1000, client.rails());

  expect(service.requests.map((r) => r.host)).toEqual([FRONT, A.api]);
});

test("private calls carry slot, token and position; public ones nothing that tells viewers apart", async () => {
  await within(1000, client.rails());
  await within(1000, client.rails());
  await within(1000, client.home());

  const [, , mine, open] = service.requests;
  expect(mine?.headers["Eisbach-Slot"]).toBe("eu/de/main/17");
  expect(mine?.headers["Authorization"]).toMatch(/^Bearer /);
  expect(mine?.headers["Eisbach-Position"]).toBe('{"eu-central":[1,2]}');
  expect(open?.path).toBe("/v1/de/free/web/12/home");
  expect(open?.headers).toEqual({});
});

test("the device id stays over visits, and a second visit needs no sign-in", async () => {
  await within(1000, client.rails());

  const again = make();
  await within(1000, again.rails());

  expect(again.device).toBe(client.device);
  expect(service.to(FRONT).length).toBe(1);
});

test("a first visit with the front hanging fails, a later one signs in at a region it remembers", async () => {
  await within(1000, client.signIn());
  storage.remove("signed-in");
  storage.set("signed-in", JSON.stringify({ access: "old", refresh: "r", expiresMs: 0, slot: "eu/de/main/17", market: "de" }));
  service.on(FRONT, () => "hang");
  service.on(A, (r) => (r.headers["Authorization"] === "Bearer old" ? json(401, { code: "token_expired" }) : region("eu-central")(r)));

  const { value, tookMs } = await within(5000, make().rails());

  expect(value).toEqual({ resume: [], watchlist: [] });
  expect(tookMs).toBeLessThan(1000);
});

test("an expired token is renewed once and the call repeated", async () => {
  await within(1000, client.signIn());
  let refused = 0;
  service.on(A, (r) => (r.path.includes("/me/") && refused++ === 0 ? json(401, { code: "token_expired" }) : region("eu-central")(r)));

  const { value } = await within(2000, client.rails());

  expect(value).toEqual({ resume: [], watchlist: [] });
  expect(service.requests.filter((r) => r.path === "/v1/auth/token").length).toBe(1);
});

test("while nobody renews tokens, calls go on with the old one and do not wait", async () => {
  await within(1000, client.signIn());
  await vi.advanceTimersByTimeAsync(890_000);
  const noAuth = (name: string): Behaviour => (r) => (r.path.startsWith("/v1/auth") ? "hang" : region(name)(r));
  service.on(FRONT, noAuth("eu-central"));
  service.on(A, noAuth("eu-central"));
  service.on(B, noAuth("eu-west"));

  const { tookMs } = await within(1000, client.rails());

  expect(tookMs).toBeLessThanOrEqual(20);
});

test("starting to play with the preferred region hanging takes one hedge, and the other region's manifest comes first", async () => {
  await within(1000, client.signIn());
  service.on(A, () => "hang");

  const { value, tookMs } = await within(2000, client.startPlayback({ type: "vod", id: "x" }));

  expect(tookMs).toBeLessThanOrEqual(420);
  expect(value?.manifests.map((m) => m.hls)).toEqual(["http://media-b/t/T/vod/x/master.m3u8", "http://media-a/t/T/vod/x/master.m3u8"]);
  const keys = service.requests.filter((r) => r.path === "/v1/playback/sessions").map((r) => r.headers["Idempotency-Key"]);
  expect(new Set(keys).size).toBe(1);
  expect(keys.length).toBe(2);
});

test("a write goes to the other region when its own is down, and the position of both is kept", async () => {
  await within(1000, client.setProgress("t", 1, 2));
  service.on(A, () => "refuse");

  const { value } = await within(2000, client.setProgress("t", 5, 10));
  await within(2000, client.rails());

  expect(value?.region).toBe("eu-west");
  const last = service.requests.at(-1)?.headers["Eisbach-Position"] ?? "";
  expect(Object.keys(JSON.parse(last))).toEqual(["eu-central", "eu-west"]);
});

test("the heartbeat's seq rises by one and survives every kind of bad answer", async () => {
  const { value: playback } = await within(1000, client.startPlayback({ type: "vod", id: "x" }));
  const stops: string[] = [];
  const heartbeat = client.heartbeat(playback!, () => 7, (m) => stops.push(m));
  heartbeat.start();
  const answers: (() => ReturnType<Behaviour>)[] = [
    () => json(500, { code: "bug" }),
    () => json(403, { action: "stop" }),
    () => json(404, { action: "stop" }),
    () => json(409, {}),
    () => new Response("<html>", { status: 200 }),
    () => json(200, [1, 2, 3]),
    () => json(200, { action: "dance", heartbeat_s: -5, session: 9 }),
    () => "refuse",
    () => "hang",
  ];
  for (const answer of answers) {
    for (const at of [A, B, FRONT]) service.on(at, (r) => (r.path.includes("heartbeat") ? answer() : region("x")(r)));
    await vi.advanceTimersByTimeAsync(30_000);
  }

  const seqs = service.requests.filter((r) => r.path.includes("heartbeat")).map((r) => (r.body as { seq: number }).seq);
  expect(stops).toEqual([]);
  expect(new Set(seqs)).toEqual(new Set(answers.map((_, n) => n + 1)));
  expect(heartbeat.statistics().everyS).toBe(30);
});

test("a heartbeat reaches the other region, which adopts the session from the signed token", async () => {
  const { value: playback } = await within(1000, client.startPlayback({ type: "vod", id: "x" }));
  const heartbeat = client.heartbeat(playback!, () => 42);
  service.on(A, () => "refuse");

  await within(1000, heartbeat.changed("paused"));

  const beats = service.to(B, "heartbeat");
  expect(beats.map((b) => b.body)).toEqual([{ seq: 1, pos_s: 42, state: "paused", session: "signed" }]);
  expect(heartbeat.statistics().answered).toBe(1);
});

test("only a well-formed answer that asks to stop is handed on", async () => {
  const { value: playback } = await within(1000, client.startPlayback({ type: "vod", id: "x" }));
  const stops: string[] = [];
  const heartbeat = client.heartbeat(playback!, () => 1, (m) => stops.push(m));
  service.on(A, () => json(200, { action: "stop", reason: "taken_over" }));

  await within(1000, heartbeat.changed("playing"));

  expect(stops).toEqual(["taken_over"]);
});
