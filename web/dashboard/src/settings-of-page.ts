// What is remembered of this browser alone: theme, language and the country drawn for "You". Storage may be
// blocked; then a choice lasts as long as the page.
export type Theme = "light" | "dark" | "system";

const at = (key: string): string => `vigilnet.${key}`;

export function recall(key: string): string {
  try {
    return localStorage.getItem(at(key)) ?? "";
  } catch {
    return "";
  }
}

export function remember(key: string, value: string): void {
  try {
    if (value) localStorage.setItem(at(key), value);
    else localStorage.removeItem(at(key));
  } catch {
    // lasts for this page
  }
}

const dark = matchMedia("(prefers-color-scheme: dark)");
let theme: Theme = ((): Theme => {
  const kept = recall("theme");
  return kept === "light" || kept === "dark" ? kept : "system";
})();

function apply(): void {
  document.documentElement.dataset["theme"] = theme === "system" ? (dark.matches ? "dark" : "light") : theme;
}
dark.addEventListener("change", apply);

export const themeNow = (): Theme => theme;

export function setTheme(choice: Theme): void {
  theme = choice;
  remember("theme", choice === "system" ? "" : choice);
  apply();
}

/** The country of this device's time zone, as far as the browser can tell; nothing is asked of anybody. */
export function countryOfTimeZone(codes: readonly string[]): string {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const zonesOf = (code: string): readonly string[] => {
    const locale = new Intl.Locale("und", { region: code }) as Intl.Locale & {
      getTimeZones?: () => string[] | undefined;
      timeZones?: string[];
    };
    return locale.getTimeZones?.() ?? locale.timeZones ?? [];
  };
  return codes.find((code) => zonesOf(code).includes(zone)) ?? "";
}
