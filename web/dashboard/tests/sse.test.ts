import { describe, expect, test } from "vitest";
import { EventParser } from "../src/data/sse";

describe("EventParser", () => {
  test("gives events in whatever pieces they come", () => {
    const text = 'event: status\ndata: {"a":1}\n\n: alive\n\nevent: log\r\ndata: {}\r\n\r\n';
    for (const size of [1, 2, 7, 100]) {
      const parser = new EventParser();
      const events = [];
      for (let at = 0; at < text.length; at += size) events.push(...parser.feed(text.slice(at, at + size)));
      expect(events).toEqual([
        { topic: "status", data: '{"a":1}' },
        { topic: "log", data: "{}" },
      ]);
    }
  });

  test("joins lines of data", () => {
    expect(new EventParser().feed("data: a\ndata: b\n\n")).toEqual([{ topic: "message", data: "a\nb" }]);
  });

  test("gives nothing for comments", () => {
    expect(new EventParser().feed(": alive\n\n: alive\n\n")).toEqual([]);
  });
});
