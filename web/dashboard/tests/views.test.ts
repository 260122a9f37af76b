import type { Diagnosis, Finding, LogLine, Peer, Setting } from "@vigilnet/ui/api-types";
import { expect, test } from "vitest";
import { modeKey } from "../src/data/modes";
import { reportOf } from "../src/views/doctor";
import { linesShown } from "../src/views/logs";
import { peersShown } from "../src/views/peers";
import { tablesOf } from "../src/views/settings-all";

const finding = (part: Partial<Finding>): Finding => ({
  id: "clock.wrong",
  level: "fail",
  group: "device",
  title: "The clock is wrong",
  meaning: "",
  next: "timedatectl set-ntp true",
  repair: "",
  evidence: ["asked 192.0.2.1"],
  ...part,
});

test("a report holds nothing of what was measured", () => {
  const findings = [finding({}), finding({ id: "dns.ok", level: "pass", title: "Names", next: "x" })];
  const report = reportOf({ verdict: "One problem.", findings } as unknown as Diagnosis);
  expect(report).toContain("fail: The clock is wrong [clock.wrong]\n  next: timedatectl set-ntp true");
  expect(report).toContain("pass: Names [dns.ok]");
  expect(report).not.toContain("192.0.2.1");
});

test("log lines are those of a level and graver ones that have the text", () => {
  const levels = ["error", "warning", "info", "debug"];
  const lines = levels.map((level, number) => ({
    number,
    at: 0,
    level,
    source: "link",
    text: level,
  })) as LogLine[];
  expect(linesShown(lines, "warning", "").map(({ level }) => level)).toEqual(["error", "warning"]);
  expect(linesShown(lines, "debug", "INF").map(({ level }) => level)).toEqual(["info"]);
});

test("peers are found by name, id and country's name", () => {
  const peers = [
    { peer_id: "12D3A", name: "A", country: "SE", link: "none" },
    { peer_id: "12D3B", name: "B", country: "DE", link: "direct" },
  ] as unknown as Peer[];
  expect(peersShown(peers, "all", "", "en").map(({ name }) => name)).toEqual(["B", "A"]);
  expect(peersShown(peers, "all", "schwed", "de").map(({ name }) => name)).toEqual(["A"]);
  expect(peersShown(peers, "direct", "", "en").length).toBe(1);
});

test("options are found by all words of a search, in their tables", () => {
  const settings = [
    { key: "circuits.hops", meaning: "1 to 10", table: "How many" },
    { key: "streams.congestion.alpha", meaning: "queue below: grow", table: "Windows" },
  ] as unknown as Setting[];
  expect(tablesOf(settings, "").map(({ name }) => name)).toEqual(["circuits", "streams.congestion"]);
  expect(tablesOf(settings, "queue grow").map(({ name }) => name)).toEqual(["streams.congestion"]);
  expect(tablesOf(settings, "queue shrink")).toEqual([]);
});

test("a mode that these pages do not know is none", () => {
  expect(modeKey("super")).toBe("mode.super");
  expect(modeKey("later")).toBe("mode.off");
});
