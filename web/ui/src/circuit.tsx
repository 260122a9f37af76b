// A path, hop by hop, in three sizes of the same ordered list: a line (overview), stations with what each of
// them sees (path view), and steps (narrow windows, many hops).
import { Eye, EyeOff, Globe, Laptop, Router, type LucideIcon } from "./icons";
import type { ReactNode } from "react";
import type { Path, PathHop } from "./api-types";
import { CountryCode } from "./controls";
import { countryName, duration, milliseconds, shortId } from "./format";
import { useLang, useT, type Key, type Translate } from "./i18n";
import { cx } from "./lib";
import type { Lang } from "./states";

export const roleKeys: Readonly<Record<string, Key>> = {
  entry: "role.entry",
  middle: "role.middle",
  exit: "role.exit",
};

const roleName = (role: string, t: Translate): string => {
  const key = roleKeys[role];
  return key ? t(key) : role;
};

/** Where a hop is, or its name where it declares no country. */
export const placeOf = (hop: PathHop, lang: Lang): string => countryName(hop.country, lang) || hop.name;

function Station({
  icon: Icon,
  number,
  isLive = true,
}: {
  icon?: LucideIcon;
  number?: number;
  isLive?: boolean;
}) {
  return (
    <span
      aria-hidden
      className={cx(
        "num relative z-10 grid size-7 shrink-0 place-items-center rounded-full text-xs font-semibold",
        Icon
          ? "border border-line bg-surface text-ink-2"
          : isLive
            ? "bg-accent text-on-accent"
            : "border border-dashed border-control bg-surface text-ink-3",
      )}
    >
      {Icon ? <Icon size={14} /> : number}
    </span>
  );
}

interface Stop {
  key: string;
  icon?: LucideIcon;
  number?: number;
  top: string;
  place: string;
  leg: string;
  isBuilt: boolean;
}

function Line({ label, stops }: { label: string; stops: readonly Stop[] }) {
  return (
    <ol aria-label={label} className="grid auto-cols-fr grid-flow-col">
      {stops.map((stop, index) => (
        <li key={stop.key} className="relative flex min-w-0 flex-col items-center gap-2 text-center">
          {index > 0 && (
            <span
              aria-hidden
              className={cx(
                "absolute top-3.5 right-1/2 h-px w-full -translate-y-1/2",
                stop.isBuilt ? "bg-accent" : "border-t border-dashed border-control",
              )}
            />
          )}
          {stop.leg && (
            <span className="num absolute top-3.5 left-0 z-10 -translate-x-1/2 -translate-y-1/2 bg-surface px-1.5 text-xs text-ink-3">
              {stop.leg}
            </span>
          )}
          <Station
            {...(stop.icon ? { icon: stop.icon } : {})}
            {...(stop.number ? { number: stop.number } : {})}
            isLive={stop.isBuilt}
          />
          <span className="max-w-full min-w-0 px-1">
            <span className="block text-xs text-ink-3">{stop.top}</span>
            <span className="block truncate text-sm font-medium text-ink">{stop.place}</span>
          </span>
        </li>
      ))}
    </ol>
  );
}

/** The path of the overview, left to right. */
export function CircuitLine({ path }: { path: Path }) {
  const t = useT();
  const lang = useLang();
  const last = path.hops.at(-1);
  return (
    <Line
      label={t("path.label")}
      stops={[
        { key: "you", icon: Laptop, top: t("path.you"), place: t("path.device"), leg: "", isBuilt: true },
        ...path.hops.map((hop, index) => ({
          key: hop.peer_id,
          number: index + 1,
          top: roleName(hop.role, t),
          place: placeOf(hop, lang),
          leg: hop.ms === null ? "" : milliseconds(hop.ms, lang),
          isBuilt: true,
        })),
        {
          key: "sites",
          icon: Globe,
          top: t("path.sites"),
          place: last?.country
            ? t("path.see", { country: countryName(last.country, lang) })
            : t("path.see.exit"),
          leg: "",
          isBuilt: true,
        },
      ]}
    />
  );
}

/** A path that is being built: the hop that is asked, and those that are not there yet. */
export function BuildingLine({ hops, hop }: { hops: number; hop: number }) {
  const t = useT();
  const roleAt = (index: number) => (index === hops - 1 ? "exit" : index === 0 ? "entry" : "middle");
  return (
    <Line
      label={t("path.building")}
      stops={[
        { key: "you", icon: Laptop, top: t("path.you"), place: t("path.device"), leg: "", isBuilt: true },
        ...Array.from({ length: hops }, (_, index) => ({
          key: String(index),
          number: index + 1,
          top: roleName(roleAt(index), t),
          place: index + 1 < hop ? t("path.there") : index + 1 === hop ? t("path.asked") : t("path.later"),
          leg: "",
          isBuilt: index + 1 < hop,
        })),
        {
          key: "sites",
          icon: Globe,
          top: t("path.sites"),
          place: t("path.unreached"),
          leg: "",
          isBuilt: false,
        },
      ]}
    />
  );
}

/** The way without VigilNet is drawn too: it is not a broken path but an open one. */
export function DirectLine() {
  const t = useT();
  const stops = [
    [Laptop, t("path.you"), t("path.device")],
    [Router, t("who.network"), t("path.direct.network")],
    [Globe, t("path.sites"), t("path.direct.sites")],
  ] as const;
  return (
    <ol aria-label={t("path.direct.label")} className="grid auto-cols-fr grid-flow-col">
      {stops.map(([Icon, top, place], index) => (
        <li key={top} className="relative flex min-w-0 flex-col items-center gap-2 text-center">
          {index > 0 && (
            <span
              aria-hidden
              className="absolute top-3.5 right-1/2 h-px w-full -translate-y-1/2 bg-control"
            />
          )}
          <Station icon={Icon} />
          <span className="max-w-full min-w-0 px-1">
            <span className="block text-xs text-ink-3">{top}</span>
            <span className="block text-sm font-medium text-ink">{place}</span>
          </span>
        </li>
      ))}
    </ol>
  );
}

/** What a hop sees and what it does not; "only" is the one hop of a path of one. */
function sight(hop: PathHop, count: number, t: Translate): readonly [sees: string, not: string] {
  const role = count === 1 ? "only" : hop.role;
  if (role === "only" || role === "entry" || role === "middle" || role === "exit") {
    return [t(`sight.${role}`), t(`sight.${role}.not`)];
  }
  return [hop.sees, hop.sees_not];
}

function Seen({ icon: Icon, label, children }: { icon: LucideIcon; label: string; children: ReactNode }) {
  return (
    <div className="flex gap-2">
      <dt className="shrink-0">
        <Icon size={14} aria-hidden className="mt-[3px] text-ink-3" />
        <span className="sr-only">{label}</span>
      </dt>
      <dd className="text-ink-2">
        <span aria-hidden className="text-ink-3">
          {label}{" "}
        </span>
        {children}
      </dd>
    </div>
  );
}

const column =
  "min-w-0 px-4 py-4 max-lg:px-5 md:max-lg:grid md:max-lg:grid-cols-[200px_1fr] md:max-lg:items-start md:max-lg:gap-x-6 [&>:first-child]:min-w-0 md:max-lg:[&>*:not(:first-child)]:col-start-2 md:max-lg:[&>:nth-child(2)]:mt-0";
const row =
  "min-w-0 px-5 py-4 md:grid md:grid-cols-[200px_1fr] md:items-start md:gap-x-6 [&>:first-child]:min-w-0 md:[&>*:not(:first-child)]:col-start-2 md:[&>:nth-child(2)]:mt-0";

/** The stations of the path view: side by side, or below each other where there are many. */
export function CircuitCards({ path }: { path: Path }) {
  const t = useT();
  const lang = useLang();
  const count = path.hops.length;
  const exit = path.hops.at(-1);
  const isWide = count <= 4;
  const cell = isWide ? column : row;
  return (
    <ol
      aria-label={t("path.label")}
      className={cx(
        "grid divide-line",
        isWide ? "max-lg:divide-y lg:auto-cols-fr lg:grid-flow-col lg:divide-x" : "divide-y",
      )}
    >
      <li className={cell}>
        <div className="flex items-center gap-2.5">
          <Station icon={Laptop} />
          <span>
            <span className="block text-xs text-ink-3">{t("path.start")}</span>
            <span className="block text-sm font-semibold text-ink">{t("path.you")}</span>
          </span>
        </div>
        <p className="mt-3 text-sm text-ink-2">{t("path.wrapped", { count })}</p>
      </li>
      {path.hops.map((hop, index) => {
        const [sees, not] = sight(hop, count, t);
        const country = countryName(hop.country, lang);
        return (
          <li key={hop.peer_id} className={cell}>
            <div className="flex items-center gap-2.5">
              <Station number={index + 1} />
              <span className="min-w-0">
                <span className="block text-xs text-ink-3">{roleName(hop.role, t)}</span>
                <span className="block truncate text-sm font-semibold text-ink">{placeOf(hop, lang)}</span>
              </span>
              {hop.ms !== null && (
                <span className="num ml-auto shrink-0 text-sm text-ink-3">
                  <span className="sr-only">{t("path.adds")} </span>
                  {milliseconds(hop.ms, lang)}
                </span>
              )}
            </div>
            <dl className="mt-3 space-y-1.5 text-sm">
              <Seen icon={Eye} label={t("sight.sees")}>
                {sees}
              </Seen>
              <Seen icon={EyeOff} label={t("sight.not")}>
                {not}
              </Seen>
            </dl>
            <p className="mt-3 truncate text-xs text-ink-3">
              {country && <span className="font-medium text-ink-2">{hop.name}</span>}
              {country && (hop.transport || hop.kept_s !== null) && ", "}
              {[
                hop.transport,
                hop.kept_s === null ? "" : t("path.kept", { time: duration(hop.kept_s, lang) }),
              ]
                .filter(Boolean)
                .join(", ")}
            </p>
            <p className="truncate font-mono text-xs text-ink-3" title={hop.peer_id}>
              {shortId(hop.peer_id)}
            </p>
          </li>
        );
      })}
      <li className={cell}>
        <div className="flex items-center gap-2.5">
          <Station icon={Globe} />
          <span>
            <span className="block text-xs text-ink-3">{t("path.end")}</span>
            <span className="block text-sm font-semibold text-ink">{t("path.sites")}</span>
          </span>
        </div>
        <p className="mt-3 text-sm text-ink-2">
          {exit?.country
            ? t("path.sites.country", { country: countryName(exit.country, lang) })
            : t("path.sites.exit")}
        </p>
      </li>
    </ol>
  );
}

/** The path of narrow windows, top to bottom. */
export function CircuitSteps({ path }: { path: Path }) {
  const t = useT();
  const lang = useLang();
  const rows = [
    {
      key: "you",
      icon: Laptop,
      number: 0,
      role: t("path.you"),
      code: null,
      place: t("path.device"),
      ms: null,
    },
    ...path.hops.map((hop, index) => ({
      key: hop.peer_id,
      icon: undefined,
      number: index + 1,
      role: roleName(hop.role, t),
      code: hop.country,
      place: placeOf(hop, lang),
      ms: hop.ms,
    })),
    {
      key: "sites",
      icon: Globe,
      number: 0,
      role: t("path.sites"),
      code: null,
      place: t("path.see.exit"),
      ms: null,
    },
  ];
  return (
    <ol aria-label={t("path.label")} className="space-y-2.5">
      {rows.map((stop, index) => (
        <li key={stop.key} className="relative flex items-center gap-2.5 text-sm">
          {index > 0 && (
            <span
              aria-hidden
              className="absolute bottom-1/2 left-3.5 h-[calc(100%+10px)] w-px -translate-x-1/2 bg-accent"
            />
          )}
          <Station {...(stop.icon ? { icon: stop.icon } : { number: stop.number })} />
          <span className="w-18 shrink-0 text-ink-3">{stop.role}</span>
          {stop.code && <CountryCode code={stop.code} />}
          <span className="truncate font-medium text-ink">{stop.place}</span>
          {stop.ms !== null && (
            <span className="num ml-auto text-xs text-ink-3">{milliseconds(stop.ms, lang)}</span>
          )}
        </li>
      ))}
    </ol>
  );
}
