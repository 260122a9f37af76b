import { expect, test } from "vitest";
import { countryName, duration, mbit, milliseconds, octets, shortId } from "../src/format";
import { lastMinute, roundTop } from "../src/throughput";

test("rates are in Mbit/s, as exact as one can read", () => {
  expect([0, 40_000, 940_000, 9_100_000, 42_400_000].map((bps) => mbit(bps, "en"))).toEqual([
    "0",
    "0.04",
    "0.9",
    "9.1",
    "42",
  ]);
  expect(mbit(9_100_000, "de")).toBe("9,1");
});

test("amounts and times have one or two units", () => {
  expect(octets(999, "en")).toMatch(/^999/);
  expect(octets(2_400_000_000, "en")).toBe("2.4 GB");
  expect(duration(8040, "en")).toBe("2 hr 14 min");
  expect(duration(40, "en")).toBe("40 sec");
  expect(milliseconds(0.66, "de")).toBe("0,7 ms");
  expect(milliseconds(84.4, "en")).toBe("84 ms");
});

test("countries have names in each language, and none has none", () => {
  expect(countryName("SE", "de")).toBe("Schweden");
  expect(countryName("", "en")).toBe("");
  expect(countryName("<b>", "en")).toBe("<b>");
});

test("ids can be told apart at both ends", () => {
  expect(shortId("12D3KooWEKqWe5wtzZ3AgUzsPWWimUmJLKYEZZUUb5ifdUDCTbXL")).toBe("12D3KooWEKqW…TbXL");
});

test("the graph has 60 seconds and a round top", () => {
  expect(lastMinute([{ at: 1, in_bps: 5, out_bps: 6 }], "out_bps").slice(-2)).toEqual([0, 6]);
  expect(lastMinute([], "in_bps").length).toBe(60);
  expect([1, 1.1e6, 2.2e6, 4.5e6, 6e6].map(roundTop)).toEqual([1, 2e6, 4e6, 5e6, 10e6]);
});
