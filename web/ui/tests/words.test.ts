import { expect, test } from "vitest";
import { langOf, translate } from "../src/i18n";
import { de } from "../src/words/de";
import { en, type Key, type Message } from "../src/words/en";
import { fr } from "../src/words/fr";

const names = (message: Message): string[] =>
  [...new Set(JSON.stringify(message).match(/\{\w+\}/g) ?? [])].sort();

test.each([
  ["de", de],
  ["fr", fr],
] as const)("%s says everything with the same values as English", (_, catalogue) => {
  expect(Object.keys(catalogue).sort()).toEqual(Object.keys(en).sort());
  for (const key of Object.keys(en) as Key[]) expect(names(catalogue[key]), key).toEqual(names(en[key]));
});

test("plurals follow the language", () => {
  const message = en["path.connections"];
  expect(translate(message, "en", { count: 1 })).toBe("1 connection");
  expect(translate(message, "en", { count: 1234 })).toBe("1,234 connections");
  expect(translate(fr["path.connections"], "fr", { count: 0 })).toBe("0 connexion");
});

test("the first of the reader's languages that there is", () => {
  expect(langOf(["pt-BR", "fr-CA", "en"])).toBe("fr");
  expect(langOf(["ja"])).toBe("en");
});
