// "Who can see what" as a table of words; the marks and the tint only support them.
import type { WhoSees as Row } from "./api-types";
import { countryName } from "./format";
import { useLang, useT, type Key } from "./i18n";
import { cx } from "./lib";

const who: Readonly<Record<string, Key>> = {
  network: "who.network",
  entry: "role.entry",
  middle: "role.middle",
  exit: "role.exit",
  site: "who.site",
};

const cells: Readonly<Record<string, Key>> = {
  "address.full": "sees.yes",
  "address.none": "sees.no",
  "sites.full": "sees.yes",
  "sites.none": "sees.no",
  "content.full": "sees.yes",
  "content.half": "sees.unencrypted",
  "content.none": "sees.no",
};

function cellKey(row: Row, column: "address" | "sites" | "content"): Key {
  if (row.who === "site") {
    return column === "address" ? "sees.exits" : column === "sites" ? "sees.itself" : "sees.said";
  }
  return cells[`${column}.${row[column]}`] ?? "sees.no";
}

/** Filled, half, empty: readable without colour. */
function Mark({ level }: { level: string }) {
  return (
    <svg width="10" height="10" viewBox="0 0 10 10" aria-hidden className="mt-[5px] shrink-0 text-ink-2">
      <circle
        cx="5"
        cy="5"
        r="4"
        fill={level === "full" ? "currentColor" : "none"}
        stroke="currentColor"
        strokeWidth="1.4"
        opacity={level === "none" ? 0.55 : 1}
      />
      {level === "half" && <path d="M5 1a4 4 0 0 0 0 8z" fill="currentColor" />}
    </svg>
  );
}

export function WhoSees({ rows }: { rows: readonly Row[] }) {
  const t = useT();
  const lang = useLang();
  const columns = ["address", "sites", "content"] as const;
  return (
    <div className="overflow-x-auto" tabIndex={0} role="group" aria-label={t("path.who")}>
      <table className="w-full text-sm max-sm:text-xs">
        <caption className="sr-only">{t("who.caption")}</caption>
        <thead>
          <tr className="border-b border-line text-left text-xs">
            {(["who.who", "who.address", "who.sites", "who.content"] as const).map((key) => (
              <th key={key} scope="col" className="py-2 pr-3 max-sm:pr-1.5 font-medium text-ink-3">
                {t(key)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody className="divide-y divide-line">
          {rows.map((row, index) => {
            const name = who[row.who];
            const note =
              row.who === "network"
                ? t("who.network.note")
                : row.who === "site"
                  ? t("who.site.note")
                  : [row.name, countryName(row.country, lang)].filter(Boolean).join(", ");
            return (
              <tr key={index} className={row.is_both ? "bg-warn-soft" : undefined}>
                <th
                  scope="row"
                  className={cx("py-2 pr-3 max-sm:pr-1.5 text-left font-medium", row.is_both && "pl-2")}
                >
                  {name ? t(name) : row.who}
                  <span
                    className={cx("block text-xs font-normal", row.is_both ? "text-warn-ink" : "text-ink-3")}
                  >
                    {row.is_both ? t("who.both") : note}
                  </span>
                </th>
                {columns.map((column) => (
                  <td key={column} className="py-2 pr-3 max-sm:pr-1.5 align-top text-ink-2">
                    <span className="flex items-start gap-2 max-sm:gap-1">
                      <Mark level={row[column]} />
                      {t(cellKey(row, column))}
                    </span>
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
