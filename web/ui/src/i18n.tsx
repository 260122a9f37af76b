// One flat, typed catalogue a language: a missing key is a type error. English comes with the page, the
// others when they are asked for.
import { createContext, useContext, useMemo } from "react";
import { en, type Catalogue, type Key, type Message } from "./words/en";
import { loadSaid, said } from "./said";
import { fill, type Lang } from "./states";

export type { Key };
export type Values = Readonly<Record<string, string | number>>;
export type Translate = (key: Key, values?: Values) => string;

export const LANGS: readonly (readonly [Lang, string])[] = [
  ["en", "English"],
  ["de", "Deutsch"],
  ["fr", "Français"],
];

export const isLang = (text: unknown): text is Lang => LANGS.some(([lang]) => lang === text);

/** The first of the reader's languages that there is. */
export const langOf = (wanted: readonly string[]): Lang =>
  wanted.map((tag) => tag.slice(0, 2).toLowerCase()).find(isLang) ?? "en";

export async function loadCatalogue(lang: Lang): Promise<Catalogue> {
  await loadSaid(lang);
  if (lang === "de") return (await import("./words/de")).de;
  if (lang === "fr") return (await import("./words/fr")).fr;
  return en;
}

/** Plural forms follow `count`. */
export function translate(message: Message, lang: Lang, values: Values = {}): string {
  if (typeof message === "string") return fill(message, values);
  const count = Number(values["count"] ?? 0);
  const form = new Intl.PluralRules(lang).select(count) === "one" ? message.one : message.other;
  return fill(form, { ...values, count: new Intl.NumberFormat(lang).format(count) });
}

interface Language {
  lang: Lang;
  catalogue: Catalogue;
}

export const LanguageContext = createContext<Language>({ lang: "en", catalogue: en });

export const useLang = (): Lang => useContext(LanguageContext).lang;

export function useT(): Translate {
  const { lang, catalogue } = useContext(LanguageContext);
  return useMemo(() => (key, values) => translate(catalogue[key], lang, values), [lang, catalogue]);
}

/** For sentences that the node says in English. */
export function useSaid(): (text: string) => string {
  const { lang, catalogue } = useContext(LanguageContext);
  return useMemo(() => (text) => (catalogue === en ? text : said(text, lang)), [lang, catalogue]);
}
