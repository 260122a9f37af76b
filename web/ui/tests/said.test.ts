import { expect, test } from "vitest";
import { said, takeSentences } from "../src/said";
import sentences from "../../dashboard/public/said.json";

takeSentences(sentences);

test("a sentence is said in the reader's language, with its values", () => {
  expect(said("The disk is full", "de")).toBe("Die Platte ist voll");
  expect(said("12 relays are known", "fr")).toBe("12 relais sont connus");
  expect(said("A path of 5 hops needs as many different relays.", "de")).toContain("5 Stationen");
});

test("what a change did is said, too, and of two sentences that fit the one that says more", () => {
  expect(said("new paths have 2 hops", "de")).toBe("neue Wege haben 2 Stationen");
  expect(said("no exit in Japan allows port 6667", "de")).toBe("kein Ausgang in Japan lässt Port 6667 zu");
  expect(said("log.level = debug; in effect after a restart", "fr")).toContain("après un redémarrage");
});

test("what is not known, and English, is said as the node says it", () => {
  expect(said("A sentence of tomorrow", "fr")).toBe("A sentence of tomorrow");
  expect(said("The disk is full", "en")).toBe("The disk is full");
});

test("every sentence keeps its values", () => {
  const names = (text: string): string[] => [...new Set(text.match(/\{\d+\}/g) ?? [])].sort();
  for (const [text, entry] of Object.entries(sentences)) {
    expect(names(entry.de), text).toEqual(names(text));
    expect(names(entry.fr), text).toEqual(names(text));
  }
});
