import words from "#states";
import { expect, test } from "vitest";
import type { Protection } from "../src/api-types";
import { say, sayNoDaemon } from "../src/states";

const protection = (part: Partial<Protection>): Protection => ({
  id: "connected",
  api: "connected",
  tone: "ok",
  icon: "ShieldCheck",
  title: "",
  sentence: "",
  parts: [],
  buttons: [],
  reasons: [],
  hops: 3,
  country: "SE",
  proxy: "127.0.0.1:1088",
  hop: 2,
  broken: "",
  nearby: 4,
  waiting: 4,
  sources: 6,
  since_s: 0,
  reason: "no relay answers",
  steps: [],
  ...part,
});

test("a state is said with its values filled in", () => {
  const said = say(
    protection({
      parts: [
        { id: "connected.hops", text: "" },
        { id: "connected.country", text: "" },
      ],
      buttons: [{ action: "disconnect", label: "" }],
    }),
    "en",
  );
  expect(said.title).toBe("Protected");
  expect(said.sentence).toBe("Your traffic takes 3 hops. Sites see an address in Sweden.");
  expect(said.buttons).toEqual([{ action: "disconnect", label: "Disconnect", isMain: false }]);
});

test("what the node of tomorrow says is shown as it says it", () => {
  const said = say(
    protection({ id: "later", title: "New", parts: [{ id: "later.x", text: "It is new." }] }),
    "de",
  );
  expect(said.title).toBe("New");
  expect(said.sentence).toBe("It is new.");
});

const languages = ["en", "de", "fr"] as const;

test.each(languages)("every state has all its words in %s, with the same values", (lang) => {
  const all: Record<string, string>[] = [
    words.slow,
    ...Object.values(words.coverage),
    ...Object.values(words.also),
    ...Object.values(words.states).flatMap((state) => [
      state.title,
      ...Object.values(state.parts),
      ...state.buttons.map((button) => button.label),
    ]),
  ];
  const names = (text: string | undefined) => text?.match(/\{\w+\}/g)?.sort() ?? [];
  for (const each of all) {
    expect(each[lang], each["en"]).toBeTruthy();
    expect(names(each[lang])).toEqual(names(each["en"]));
  }
});

test("when nobody answers, the page says since when", () => {
  expect(sayNoDaemon(12, "en").sentence).toContain("12 seconds ago");
});
