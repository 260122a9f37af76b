import type { Exits } from "@vigilnet/ui/api-types";
import { Badge, Button, Card, CountryCode } from "@vigilnet/ui/controls";
import { countryName } from "@vigilnet/ui/format";
import { useLang, useT } from "@vigilnet/ui/i18n";
import { cx } from "@vigilnet/ui/lib";
import { useEffect, useState } from "react";
import { run, useBusy } from "../data/actions";
import { change, read } from "../data/client";
import { useLive } from "../data/live";

/** The exits that the node knows; asked again when the choice or the known relays change. */
export function useExits(): Exits | null {
  const [exits, setExits] = useState<Exits | null>(null);
  const choice = useLive((live) => live.status?.exit);
  const relays = useLive((live) => live.status?.peers);
  useEffect(() => {
    let isGone = false;
    read("exits").then(
      (answer) => !isGone && setExits(answer),
      () => undefined, // the page says elsewhere that nobody answers
    );
    return () => {
      isGone = true;
    };
  }, [choice?.country, choice?.peer_id, relays]);
  return exits;
}

export const leaveIn = (country: string, peerId = "") =>
  run(() => change("set-exit", { country, peer_id: peerId }));

export function WhereToLeave() {
  const t = useT();
  const lang = useLang();
  const exits = useExits();
  const isBusy = useBusy();
  const choice = useLive((live) => live.status?.exit);
  if (!exits || !choice) return null;
  const chosenExit = exits.exits.find((exit) => exit.peer_id === choice.peer_id);
  const countries = exits.countries
    .filter(({ country }) => country)
    .slice()
    .sort((a, b) => countryName(a.country, lang).localeCompare(countryName(b.country, lang), lang));
  const isAnywhere = !choice.country && !choice.peer_id;
  const said = choice.peer_id
    ? t("leave.exit", { name: chosenExit?.name ?? choice.peer_id.slice(0, 16) })
    : choice.country
      ? t("leave.only", { country: countryName(choice.country, lang) })
      : t("leave.anywhere");
  return (
    <Card
      title={t("leave.title")}
      hint={t("leave.hint")}
      className="lg:col-span-2"
      action={
        <span className="flex flex-wrap items-center gap-2">
          <Badge tone="accent">{said}</Badge>
          {!isAnywhere && (
            <Button disabled={isBusy} onClick={() => void leaveIn("")}>
              {t("leave.back")}
            </Button>
          )}
        </span>
      }
    >
      {countries.length > 0 && (
        <ul className="grid grid-cols-2 gap-x-8 text-sm md:grid-cols-4">
          {countries.map(({ country, exits: count }) => (
            <li key={country}>
              <button
                type="button"
                disabled={isBusy}
                aria-pressed={choice.country === country}
                onClick={() => void leaveIn(choice.country === country ? "" : country)}
                className={cx(
                  "-mx-2 flex w-[calc(100%+16px)] items-center gap-2 rounded-md px-2 py-1 text-left",
                  choice.country === country ? "bg-accent-soft" : "hover:bg-sunken",
                )}
              >
                <CountryCode code={country} />
                <span className="min-w-0 truncate text-ink">{countryName(country, lang)}</span>
                <span className="num ml-auto shrink-0 text-xs text-ink-3">{t("leave.count", { count })}</span>
              </button>
            </li>
          ))}
        </ul>
      )}
      {exits.exits.length === 0 && <p className="text-sm">{t("leave.none")}</p>}
      {exits.exits.length > 0 && (
        <details className="mt-3 text-sm">
          <summary className="inline-block rounded-sm font-medium text-accent-ink hover:underline">
            {t("leave.one", { count: exits.exits.length })}
          </summary>
          <ul className="mt-2 divide-y divide-line">
            {exits.exits.slice(0, 100).map((exit) => (
              <li key={exit.peer_id} className="flex flex-wrap items-center gap-x-3 gap-y-1 py-1.5">
                <CountryCode code={exit.country} />
                <span className="font-medium text-ink">{exit.name}</span>
                <span className="min-w-0 truncate text-xs text-ink-3">
                  {t("leave.ports", { ports: exit.ports })}
                </span>
                {exit.in_use && <Badge tone="ok">{t("leave.used")}</Badge>}
                <Button
                  className="ml-auto"
                  aria-pressed={choice.peer_id === exit.peer_id}
                  disabled={isBusy || choice.peer_id === exit.peer_id}
                  onClick={() => void leaveIn("", exit.peer_id)}
                >
                  {t("leave.here")}
                  <span className="sr-only"> {exit.name}</span>
                </Button>
              </li>
            ))}
          </ul>
        </details>
      )}
      <p className="mt-3 text-xs leading-[18px] text-ink-3">{t("leave.note")}</p>
    </Card>
  );
}
