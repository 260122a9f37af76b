// What the node says in English (checks of the doctor, the meanings of options), in the reader's language.
// said.json has every such sentence; {0} stands for what differs from case to case. A sentence that it does not have
// is said as the node says it.
import type { Lang } from "./states";

type Entry = Readonly<Record<"de" | "fr", string>>;
interface Pattern {
  readonly matches: RegExp;
  readonly entry: Entry;
}

let plain: Readonly<Record<string, Entry>> = {};
let patterns: readonly Pattern[] = [];

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** The sentence with values taken for {0}, {1} and so on. */
const pattern = (text: string): RegExp =>
  new RegExp(
    `^${text
      .split(/\{\d+\}/)
      .map(escaped)
      .join("(.+?)")}$`,
    "s",
  );

export function takeSentences(sentences: Readonly<Record<string, Entry>>): void {
  plain = sentences;
  patterns = Object.entries(sentences)
    .filter(([text]) => text.includes("{0}"))
    .sort(([a], [b]) => b.length - a.length) // what says more is looked for first
    .map(([text, entry]) => ({ matches: pattern(text), entry }));
}

/** Fetches the sentences, which lie beside the page; without them the node's own words are shown. */
export async function loadSaid(lang: Lang): Promise<void> {
  if (lang === "en" || patterns.length > 0) return;
  const answer = await fetch("said.json").catch(() => null);
  if (answer?.ok) takeSentences((await answer.json()) as Readonly<Record<string, Entry>>);
}

export function said(text: string, lang: Lang): string {
  if (lang === "en") return text;
  const entry = plain[text];
  if (entry) return entry[lang];
  for (const { matches, entry: found } of patterns) {
    const values = matches.exec(text);
    if (values) return found[lang].replace(/\{(\d+)\}/g, (_, at: string) => values[Number(at) + 1] ?? "");
  }
  return text;
}
