// The last 60 seconds, drawn here: an area, a dashed line and a scale need no chart library.
import type { TrafficSample } from "./api-types";
import { mbit } from "./format";
import { useLang, useT } from "./i18n";
import { useSize } from "./lib";

const SECONDS = 60;
const MIN_TOP = 1e6;

/** The next round value: 1, 2, 4, 5 or 10 times a power of ten. */
export function roundTop(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 4, 5, 10].map((step) => step * power).find((step) => step >= value) ?? 10 * power;
}

/** Exactly 60 values, the newest last; seconds before the first sample were silent. */
export function lastMinute(samples: readonly TrafficSample[], which: "in_bps" | "out_bps"): number[] {
  const known = samples.slice(-SECONDS).map((sample) => sample[which]);
  return [...Array<number>(SECONDS - known.length).fill(0), ...known];
}

export function Throughput({
  samples,
  height = 176,
}: {
  samples: readonly TrafficSample[];
  height?: number;
}) {
  const t = useT();
  const lang = useLang();
  const [ref, { w }] = useSize<HTMLDivElement>();
  const received = lastMinute(samples, "in_bps");
  const sent = lastMinute(samples, "out_bps");
  const top = roundTop(Math.max(MIN_TOP, ...received, ...sent));
  const [left, bottom, pad] = [34, 20, 6];
  const x = (second: number) => left + (second / (SECONDS - 1)) * (w - left - 1);
  const y = (value: number) => pad + (1 - value / top) * (height - bottom - pad - 1);
  const line = (values: number[]) =>
    values.map((value, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const spoken = t("graph.spoken", {
    in: mbit(received.at(-1) ?? 0, lang),
    out: mbit(sent.at(-1) ?? 0, lang),
    inPeak: mbit(Math.max(...received), lang),
    outPeak: mbit(Math.max(...sent), lang),
  });
  return (
    <div ref={ref} role="img" aria-label={spoken} style={{ height }}>
      {w > 0 && (
        <svg width={w} height={height} aria-hidden className="block">
          {[0, 0.5, 1].map((part) => (
            <g key={part}>
              <line x1={left} x2={w} y1={y(top * part)} y2={y(top * part)} className="stroke-line" />
              <text x={left - 8} y={y(top * part) + 4} textAnchor="end" className="num fill-ink-3 text-xs">
                {mbit(top * part, lang)}
              </text>
            </g>
          ))}
          <path d={`${line(received)}L${x(SECONDS - 1)} ${y(0)}L${x(0)} ${y(0)}Z`} className="fill-d1-soft" />
          <path
            d={line(received)}
            fill="none"
            className="stroke-d1"
            strokeWidth={1.75}
            strokeLinejoin="round"
          />
          <path
            d={line(sent)}
            fill="none"
            className="stroke-d2"
            strokeWidth={1.75}
            strokeLinejoin="round"
            strokeDasharray="4 3"
          />
          <text x={left} y={height - 4} className="fill-ink-3 text-xs">
            {t("graph.ago")}
          </text>
          <text x={left + (w - left) / 2} y={height - 4} textAnchor="middle" className="fill-ink-3 text-xs">
            30 s
          </text>
          <text x={w} y={height - 4} textAnchor="end" className="fill-ink-3 text-xs">
            {t("graph.now")}
          </text>
        </svg>
      )}
    </div>
  );
}

export function Rates({ samples }: { samples: readonly TrafficSample[] }) {
  const t = useT();
  const lang = useLang();
  const now = samples.at(-1);
  const rows = [
    [t("graph.in"), now?.in_bps ?? 0, "bg-d1"],
    [t("graph.out"), now?.out_bps ?? 0, "bg-d2"],
  ] as const;
  return (
    <dl className="flex flex-wrap justify-end gap-x-5 text-sm">
      {rows.map(([label, value, dot]) => (
        <div key={label} className="flex items-center gap-2">
          <dt className="flex items-center gap-2 font-normal text-ink-3">
            <span aria-hidden className={`h-2 w-2 rounded-full ${dot}`} />
            {label}
          </dt>
          <dd className="num font-semibold text-ink">
            {mbit(value, lang)} <span className="font-normal text-ink-3">Mbit/s</span>
          </dd>
        </div>
      ))}
    </dl>
  );
}
