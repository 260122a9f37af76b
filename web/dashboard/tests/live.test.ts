import type { LogLine, TrafficSample } from "@vigilnet/ui/api-types";
import { expect, test } from "vitest";
import { addLines, after, type Live } from "../src/data/live";
import { inUseFirst } from "../src/data/order";

const empty: Live = {
  link: "live",
  lostAt: 0,
  status: null,
  paths: [],
  peers: [],
  streams: [],
  traffic: [],
  log: [],
};
const line = (number: number): LogLine => ({ number, at: 0, level: "info", source: "", text: "" });
const numbers = (lines: readonly LogLine[]): number[] => lines.map((each) => each.number);

test("an event carries the whole new value of its topic", () => {
  const live = after(empty, { topic: "paths", data: '[{"id":7}]' });
  expect(live.paths).toEqual([{ id: 7 }]);
  expect(after(live, { topic: "paths", data: "[]" }).paths).toEqual([]);
});

test("a topic of tomorrow changes nothing", () => {
  expect(after(empty, { topic: "weather", data: "{}" })).toBe(empty);
});

test("the last minute is kept, each second once", () => {
  let live = empty;
  for (let at = 1; at <= 70; at += 1) {
    const sample: TrafficSample = { at, in_bps: at, out_bps: 0 };
    live = after(live, { topic: "traffic", data: JSON.stringify(sample) });
    live = after(live, { topic: "traffic", data: JSON.stringify(sample) });
  }
  expect(live.traffic.length).toBe(60);
  expect(live.traffic[0]?.at).toBe(11);
});

test("log lines stand in order and once, however they come", () => {
  expect(numbers(addLines([line(1), line(2)], [line(3)]))).toEqual([1, 2, 3]);
  expect(numbers(addLines([line(2), line(4)], [line(1), line(2), line(3)]))).toEqual([1, 2, 3, 4]);
  expect(
    addLines(
      [],
      Array.from({ length: 1500 }, (_, i) => line(i)),
    ).length,
  ).toBe(1000);
});

test("paths that carry something come first, ending ones last", () => {
  const base = {
    label: "",
    is_ready: false,
    is_retired: false,
    is_kept: false,
    streams: 0,
    ms: null,
    hops: [],
    who_sees: [],
    why: [],
  };
  const paths = [
    { ...base, id: 1, age_s: 1, is_retired: true },
    { ...base, id: 2, age_s: 1, is_ready: true },
    { ...base, id: 3, age_s: 9 },
    { ...base, id: 4, age_s: 2 },
    { ...base, id: 5, age_s: 9, streams: 2 },
  ];
  expect(
    paths
      .slice()
      .sort(inUseFirst)
      .map(({ id }) => id),
  ).toEqual([5, 4, 3, 2, 1]);
});
