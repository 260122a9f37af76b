import { Check, Minus, TriangleAlert } from "./icons";
import type { Cover } from "./api-types";
import { useLang, useT, type Key } from "./i18n";
import { sayCover } from "./states";

const names: Readonly<Record<string, Key>> = {
  device: "cover.device",
  names: "cover.names",
  ipv6: "cover.ipv6",
  lockdown: "cover.lockdown",
  exceptions: "cover.exceptions",
};

/** What is covered; a choice of the person is a dash, only a gap is a warning. */
export function Coverage({ lines }: { lines: readonly Cover[] }) {
  const t = useT();
  const lang = useLang();
  return (
    <ul className="divide-y divide-line text-sm">
      {lines.map(({ what, how, level, text }) => {
        const name = names[what];
        return (
          <li key={what} className="flex items-start gap-2.5 py-[7px] first:pt-0 last:pb-0">
            {level === "ok" ? (
              <Check size={15} aria-hidden className="mt-[3px] shrink-0 text-ok" />
            ) : level === "choice" ? (
              <Minus size={15} aria-hidden className="mt-[3px] shrink-0 text-ink-3" />
            ) : (
              <TriangleAlert size={15} aria-hidden className="mt-[3px] shrink-0 text-warn" />
            )}
            <span className="shrink-0 text-ink">{name ? t(name) : what}</span>
            <span className="ml-auto text-right text-ink-3">
              {how === "list" ? text : sayCover(how, text, lang)}
            </span>
          </li>
        );
      })}
    </ul>
  );
}
