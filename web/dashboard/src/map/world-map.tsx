// The map comes with the page: no tile server ever learns which countries somebody looks at. Outlines:
// Natural Earth (public domain), simplified and projected when the page is built (scripts/make-map.mjs).
import type { Path } from "@vigilnet/ui/api-types";
import { countryName } from "@vigilnet/ui/format";
import { useLang, useT } from "@vigilnet/ui/i18n";
import { useSize } from "@vigilnet/ui/lib";
import { useMemo } from "react";
import { countryOfTimeZone, recall } from "../settings-of-page";
import { layout, wholeWorld, type Point, type Stop } from "./layout";
import world from "./world.json";

const points = world.points as unknown as Readonly<Record<string, Point>>;
const shapes = Object.entries(world.countries as Readonly<Record<string, string>>);

export default function WorldMap({ path }: { path: Path }) {
  const t = useT();
  const lang = useLang();
  const [ref, { w, h }] = useSize<HTMLDivElement>();
  const home = useMemo(() => recall("home") || countryOfTimeZone(Object.keys(points)), []);
  const codes = path.hops.map((hop) => hop.country).join(",");
  const view = useMemo(() => {
    if (!w || !h) return null;
    const known = codes
      .split(",")
      .flatMap((code, index): Stop[] =>
        points[code] ? [{ code, number: index + 1, text: countryName(code, lang) }] : [],
      );
    if (known.length === 0) return wholeWorld(world, w, h);
    const stops = points[home] ? [{ code: home, number: 0, text: t("path.you") }, ...known] : known;
    return layout(
      stops,
      stops.map((stop) => points[stop.code] ?? [0, 0]),
      w,
      h,
    );
  }, [codes, home, w, h, lang, t]);
  const hit = new Set(codes.split(","));
  const named = path.hops.flatMap((hop) => (points[hop.country] ? [countryName(hop.country, lang)] : []));
  const unnamed = path.hops.length - named.length;
  const spoken = named.length ? t("map.spoken", { countries: named.join(", ") }) : t("map.unknown");
  return (
    <div
      ref={ref}
      role="img"
      aria-label={spoken}
      className="relative h-full min-h-[340px] w-full overflow-hidden"
    >
      {view && (
        <svg width={w} height={h} aria-hidden className="absolute inset-0">
          <g
            transform={`translate(${view.shiftX} ${view.shiftY}) scale(${view.scale})`}
            className="fill-land stroke-land-edge"
          >
            {shapes.map(([code, d]) => (
              <path
                key={code}
                d={d}
                vectorEffect="non-scaling-stroke"
                strokeWidth={0.8}
                className={hit.has(code) ? "fill-land-hit" : undefined}
              />
            ))}
          </g>
          {view.legs.map((d, index) => (
            <g key={index} fill="none" strokeLinecap="round">
              <path d={d} className="stroke-surface" strokeWidth={5} strokeOpacity={0.7} />
              <path d={d} className="stroke-accent" strokeWidth={2} />
            </g>
          ))}
          {view.stops.map((stop) => (
            <g key={stop.number} transform={`translate(${stop.x} ${stop.y})`}>
              <circle
                r={stop.number ? 11 : 8}
                className={stop.number ? "fill-accent stroke-surface" : "fill-ink stroke-surface"}
                strokeWidth={2.5}
              />
              {stop.number > 0 && (
                <text textAnchor="middle" dy={4} className="num fill-on-accent text-xs font-semibold">
                  {stop.number}
                </text>
              )}
            </g>
          ))}
          {view.stops.map((stop) => (
            <g key={stop.number} transform={`translate(${stop.label.x} ${stop.label.y})`}>
              <rect width={stop.label.w} height={stop.label.h} rx={5} className="fill-surface stroke-line" />
              <text x={stop.label.w / 2} y={15} textAnchor="middle" className="fill-ink text-xs font-medium">
                {stop.text}
              </text>
            </g>
          ))}
        </svg>
      )}
      {unnamed > 0 && (
        <p className="absolute inset-x-4 bottom-3 text-xs text-ink-2">
          <span className="rounded-sm bg-surface px-2 py-1">
            {named.length ? t("map.some", { count: unnamed }) : t("map.unknown")}
          </span>
        </p>
      )}
    </div>
  );
}
