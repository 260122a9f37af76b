// The words of the states come from states.json, which the node reads too: both say the same sentence.
import words from "#states";
import type { Protection } from "./api-types";
import { countryName } from "./format";

export type Lang = "en" | "de" | "fr";
export type Tone = "ok" | "busy" | "warn" | "hold" | "bad";
export type StateId = keyof typeof words.states;

type Words = Readonly<Record<string, string>>;
interface StateEntry {
  api: string;
  tone: string;
  icon: string;
  title: Words;
  parts: Readonly<Record<string, Words>>;
  buttons: readonly { action: string; label: Words }[];
}
const states: Readonly<Record<string, StateEntry>> = words.states;
const also: Readonly<Record<string, Words>> = words.also;
const coverage: Readonly<Record<string, Words>> = words.coverage;

export interface Said {
  id: string;
  tone: Tone;
  icon: string;
  title: string;
  sentence: string;
  buttons: readonly { action: string; label: string; isMain: boolean }[];
}

const in_ = (entry: Words | undefined, lang: Lang): string | undefined => entry?.[lang] ?? entry?.["en"];

/** Fills {name} with values; a name without a value stays, so that a test sees it. */
export const fill = (text: string, values: Readonly<Record<string, string | number>>): string =>
  text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));

function partText(id: string, lang: Lang): string | undefined {
  if (id === "slow") return in_(words.slow, lang);
  const [state = "", part = ""] = id.split(".");
  return in_(state === "also" ? also[part] : states[state]?.parts[part], lang);
}

const tones: readonly string[] = ["ok", "busy", "warn", "hold", "bad"];
const toneOf = (tone: string): Tone => (tones.includes(tone) ? (tone as Tone) : "warn");

/** Actions that lead to more protection; only the first button of a state may be one, and is then coloured. */
const urgent = ["connect", "whole-device", "three-hops", "names-at-exit", "open-portal", "retry"];

/** A state in the reader's language; a sentence that these pages do not know is said as the node says it. */
export function say(protection: Protection, lang: Lang): Said {
  const entry = states[protection.id];
  const values = {
    hops: protection.hops,
    hop: protection.hop,
    country: countryName(protection.country, lang),
    proxy: protection.proxy,
    waiting: protection.waiting,
    sources: protection.sources,
    nearby: protection.nearby,
    reason: protection.reason,
  };
  return {
    id: protection.id,
    tone: toneOf(protection.tone),
    icon: protection.icon,
    title: in_(entry?.title, lang) ?? protection.title,
    sentence: protection.parts
      .map(({ id, text }) => {
        const known = partText(id, lang);
        return known === undefined ? text : fill(known, values);
      })
      .join(" "),
    buttons: protection.buttons.map(({ action, label }, index) => ({
      action,
      label: in_(entry?.buttons.find((button) => button.action === action)?.label, lang) ?? label,
      isMain: index === 0 && urgent.includes(action),
    })),
  };
}

/** What these pages say themselves when nobody answers. */
export function sayNoDaemon(seconds: number, lang: Lang): Said {
  const entry = words.states["no-daemon"];
  return {
    id: "no-daemon",
    tone: toneOf(entry.tone),
    icon: entry.icon,
    title: in_(entry.title, lang) ?? "",
    sentence: Object.values(entry.parts)
      .map((part: Words) => fill(in_(part, lang) ?? "", { seconds }))
      .join(" "),
    buttons: entry.buttons.map((button) => ({
      action: button.action,
      label: in_(button.label, lang) ?? "",
      isMain: true,
    })),
  };
}

/** How something is covered, in the reader's language. */
export const sayCover = (how: string, text: string, lang: Lang): string => in_(coverage[how], lang) ?? text;
