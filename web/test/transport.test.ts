import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RetryBudget } from "../src/sdk/budget";
import { systemClock } from "../src/sdk/clock";
import { ApiError, Unreachable } from "../src/sdk/errors";
import { Regions } from "../src/sdk/regions";
import { type Call, type Wire, send } from "../src/sdk/transport";
import { A, B, Service, json, within } from "./service";

let service: Service;
let wire: Wire;

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
  service = new Service();
  const regions = new Regions(systemClock, [A, B]);
  wire = { fetch: service.fetch, clock: { ...systemClock, random: () => 0.5 }, regions, budget: new RetryBudget() };
});
afterEach(() => vi.useRealTimers());

const critical: Call = { method: "POST", path: "/v1/playback/sessions", key: "k1", critical: true, body: {} };
const read: Call = { method: "GET", path: "/v1/me/rails" };

test("a region that answers in time is asked alone", async () => {
  service.on(A, () => ({ afterMs: 300, answer: json(201, { sid: "s" }) }));

  const { value } = await within(2000, send(wire, critical));

  expect(value?.region).toBe("eu-central");
  expect(service.requests.length).toBe(1);
});

test("a critical call without an answer in 400 ms is also sent to the second region, with the same key", async () => {
  service.on(A, () => "hang");
  service.on(B, () => ({ afterMs: 50, answer: json(201, { sid: "s" }) }));

  const { value, tookMs } = await within(2000, send(wire, critical));

  expect(service.to(B)[0]?.at).toBe(1_000_400);
  expect(service.requests.map((r) => r.headers["Idempotency-Key"])).toEqual(["k1", "k1"]);
  expect(value?.region).toBe("eu-west");
  expect(tookMs).toBeLessThanOrEqual(460);
});

test("the first answer wins, whichever region it comes from, and the other try is dropped", async () => {
  service.on(A, () => ({ afterMs: 600, answer: json(201, { from: "a" }) }));
  service.on(B, () => ({ afterMs: 900, answer: json(201, { from: "b" }) }));

  const { value } = await within(2000, send<{ from: string }>(wire, critical));

  expect(value?.body.from).toBe("a");
});

test("a region that refuses connections does not make a critical call wait for the hedge", async () => {
  service.on(A, () => "refuse");
  service.on(B, () => json(201, {}));

  const { value, tookMs } = await within(2000, send(wire, critical));

  expect(value?.region).toBe("eu-west");
  expect(tookMs).toBeLessThanOrEqual(20);
});

test("a POST without a key is never sent twice", async () => {
  service.on(A, () => "refuse");
  service.on(B, () => json(201, {}));

  const { error } = await within(5000, send(wire, { method: "POST", path: "/v1/x", critical: true, body: {} }));

  expect(error).toBeInstanceOf(Unreachable);
  expect(service.requests.length).toBe(1);
});

test("a read goes to the second region when the first gives no answer in its try's time", async () => {
  service.on(A, () => "hang");
  service.on(B, () => json(200, []));

  const { value, tookMs } = await within(5000, send(wire, read));

  expect(value?.region).toBe("eu-west");
  expect(tookMs).toBeGreaterThanOrEqual(2000);
});

test("a region that failed is asked last for a while, so it costs one wait and not one a call", async () => {
  service.on(A, () => "hang");
  service.on(B, () => json(200, []));
  await within(5000, send(wire, read));

  const { tookMs } = await within(5000, send(wire, read));

  expect(tookMs).toBeLessThanOrEqual(20);
  expect(service.to(A).length).toBe(1);
});

test("the slot's own order comes back once the doubt is over", async () => {
  service.on(A, () => "refuse");
  service.on(B, () => json(200, []));
  await within(5000, send(wire, read));
  service.on(A, () => json(200, []));
  await vi.advanceTimersByTimeAsync(10_001);

  const { value } = await within(5000, send(wire, read));

  expect(value?.region).toBe("eu-central");
});

test("502 and a bare 503 mean a dead region: the other one is asked", async () => {
  for (const status of [502, 503, 504]) {
    service.on(A, () => json(status, {}));
    service.on(B, () => json(200, []));
    wire.regions.answered(A);

    const { value } = await within(5000, send(wire, read));

    expect(value?.region).toBe("eu-west");
  }
});

test("shed is not dead: 503 with Retry-After is repeated in the same region and never taken to the other", async () => {
  service.on(A, () => (service.to(A).length === 1 ? json(503, { retry_after_ms: 200 }, { "Retry-After": "1" }) : json(200, [])));
  service.on(B, () => json(200, []));

  const { value, tookMs } = await within(5000, send(wire, read));

  expect(value?.region).toBe("eu-central");
  expect(service.to(B).length).toBe(0);
  expect(tookMs).toBeGreaterThanOrEqual(200);
});

test("a refusal that is no shedding is taken to the other region at once, which is asked first from then on", async () => {
  for (const code of ["unavailable", "slot_frozen"]) {
    wire.regions.answered(A);
    service.on(A, () => json(503, { code, retry_after_ms: 1000 }, { "Retry-After": "1" }));
    service.on(B, () => json(204, null));

    const { value, tookMs } = await within(5000, send(wire, { method: "PUT", path: "/v1/me/progress/tears", body: {} }));

    expect(value?.region).toBe("eu-west");
    expect(tookMs).toBeLessThan(100);
    expect(wire.regions.order()[0]?.region).toBe("eu-west");
  }
});

test("what both regions refuse without shedding is told as it is: nothing was done", async () => {
  service.on(A, () => json(503, { code: "unavailable", retry_after_ms: 10 }, { "Retry-After": "1" }));
  service.on(B, () => json(503, { code: "overloaded", retry_after_ms: 10 }, { "Retry-After": "1" }));

  const { error } = await within(9000, send(wire, { method: "PUT", path: "/v1/me/progress/tears", body: {} }));

  expect((error as ApiError).code).toBe("overloaded");
});

test("an outcome that a cell does not know is not asked of the other region", async () => {
  service.on(A, () => json(503, { code: "outcome_unknown", retry_after_ms: 10 }, { "Retry-After": "1" }));
  service.on(B, () => json(204, null));

  const { error } = await within(9000, send(wire, { method: "PUT", path: "/v1/me/progress/tears", body: {} }));

  expect((error as ApiError).code).toBe("outcome_unknown");
  expect(service.to(B).length).toBe(0);
});

test("a call that is shed twice fails with what the service said", async () => {
  service.on(A, () => json(429, { code: "overloaded", retry_after_ms: 100 }, { "Retry-After": "1" }));

  const { error } = await within(5000, send(wire, read));

  expect((error as ApiError).code).toBe("overloaded");
  expect(service.requests.length).toBe(2);
});

test("a refusal behind a try without an answer says that the outcome is unknown, unless the call only reads", async () => {
  const put: Call = { method: "PUT", path: "/v1/me/progress/tears", body: {} };
  for (const [call, code] of [
    [put, "outcome_unknown"],
    [critical, "outcome_unknown"],
    [read, "overloaded"],
  ] as const) {
    wire.regions.answered(A);
    service.on(A, () => "hang");
    service.on(B, () => json(503, { code: "overloaded", retry_after_ms: 10 }, { "Retry-After": "1" }));

    const { error } = await within(9000, send(wire, call));

    expect((error as ApiError).code).toBe(code);
  }
});

test("a refusal behind an edge that reached nobody is the whole truth", async () => {
  service.on(A, () => json(502, { code: "unavailable" }));
  service.on(B, () => json(503, { code: "overloaded", retry_after_ms: 10 }, { "Retry-After": "1" }));

  const { error } = await within(9000, send(wire, { method: "PUT", path: "/v1/me/progress/tears", body: {} }));

  expect((error as ApiError).code).toBe("overloaded");
});

test("421 is followed to the owner's region, once", async () => {
  service.on(A, () => json(421, { code: "slot_moved" }, { "Eisbach-Owner": "eu-west/c2" }));
  service.on(B, () => json(200, { ok: true }));

  const { value } = await within(2000, send(wire, read));

  expect(value?.region).toBe("eu-west");
  expect(service.requests.length).toBe(2);
});

test("two regions that name each other as owner do not send the client in circles", async () => {
  service.on(A, () => json(421, { code: "slot_moved" }, { "Eisbach-Owner": "eu-west/c2" }));
  service.on(B, () => json(421, { code: "slot_moved" }, { "Eisbach-Owner": "eu-central/c1" }));

  const { error } = await within(2000, send(wire, read));

  expect((error as ApiError).status).toBe(421);
  expect(service.requests.length).toBe(2);
});

test("a refusal is an answer: no second try", async () => {
  service.on(A, () => json(403, { code: "rights_window" }));

  const { error } = await within(2000, send(wire, critical));

  expect((error as ApiError).code).toBe("rights_window");
  expect(service.requests.length).toBe(1);
});

test("with both regions down a call tries again and ends by its deadline", async () => {
  service.on(A, () => "refuse");
  service.on(B, () => "refuse");

  const { error, tookMs } = await within(9000, send(wire, { ...read, deadlineMs: 3000 }));

  expect(error).toBeInstanceOf(Unreachable);
  expect(tookMs).toBeLessThanOrEqual(3010);
  expect(service.requests.length).toBeGreaterThan(2);
});

test("both regions down for a moment is survived within the deadline", async () => {
  const dead = () => Date.now() < 1_001_000;
  service.on(A, () => (dead() ? "refuse" : json(200, [])));
  service.on(B, () => (dead() ? "refuse" : json(200, [])));

  const { value } = await within(9000, send(wire, read));

  expect(value?.status).toBe(200);
});

test("over many calls at most one in ten is sent a second time, plus the reserve", async () => {
  service.on(A, () => json(502, {}));
  service.on(B, () => json(502, {}));

  for (let n = 0; n < 200; n += 1) {
    const one = send(wire, { ...read, via: [A, B], deadlineMs: 100 });
    await within(1000, one);
  }

  expect(service.requests.length).toBeLessThanOrEqual(200 + 20 + 8);
});

test("a region cut off in the middle of its answer has not answered", async () => {
  service.on(A, () => {
    const cut = new ReadableStream({ start: (c) => c.error(new TypeError("cut")) });
    return new Response(cut, { status: 200, headers: { "Content-Type": "application/json" } });
  });
  service.on(B, () => json(200, { whole: true }));

  const { value } = await within(2000, send(wire, read));

  expect(value?.region).toBe("eu-west");
});
