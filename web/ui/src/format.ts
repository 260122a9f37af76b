// Numbers, times and countries in the reader's language; all of it from the browser's Intl.

/** A rate in Mbit/s, as providers say it: one decimal below 10, none above. */
export function mbit(bitsPerSecond: number, lang: string): string {
  const value = bitsPerSecond / 1e6;
  const digits = value > 0 && value < 0.1 ? 2 : value < 10 ? 1 : 0;
  return new Intl.NumberFormat(lang, {
    maximumFractionDigits: digits,
    minimumFractionDigits: value ? digits : 0,
  }).format(value);
}

export function octets(count: number, lang: string): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"] as const;
  let step = 0;
  let value = count;
  while (value >= 1000 && step < units.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits = step && value < 10 ? 1 : 0;
  return new Intl.NumberFormat(lang, {
    style: "unit",
    unit: units[step] ?? "byte",
    unitDisplay: step ? "short" : "narrow",
    maximumFractionDigits: digits,
  }).format(value);
}

/** A duration in its one or two largest units: 40 s, 12 min, 2 h 14 min, 3 d. */
export function duration(seconds: number, lang: string): string {
  const say = (value: number, unit: "second" | "minute" | "hour" | "day") =>
    new Intl.NumberFormat(lang, {
      style: "unit",
      unit,
      unitDisplay: "short",
      maximumFractionDigits: 0,
    }).format(value);
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return say(whole, "second");
  if (whole < 3600) return say(Math.floor(whole / 60), "minute");
  if (whole < 86_400) {
    const minutes = Math.floor((whole % 3600) / 60);
    return say(Math.floor(whole / 3600), "hour") + (minutes ? ` ${say(minutes, "minute")}` : "");
  }
  return say(Math.floor(whole / 86_400), "day");
}

export function milliseconds(ms: number, lang: string): string {
  const digits = ms < 10 ? 1 : 0;
  return `${new Intl.NumberFormat(lang, { maximumFractionDigits: digits }).format(ms)} ms`;
}

export function clockTime(unixSeconds: number, lang: string): string {
  return new Intl.DateTimeFormat(lang, { timeStyle: "medium" }).format(unixSeconds * 1000);
}

export function dateTime(unixSeconds: number, lang: string): string {
  return new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "short" }).format(
    unixSeconds * 1000,
  );
}

export function countryName(code: string, lang: string): string {
  if (!/^[A-Z]{2}$/.test(code)) return code;
  return new Intl.DisplayNames([lang], { type: "region", fallback: "code" }).of(code) ?? code;
}

/** A long id, recognisable at both ends. */
export function shortId(id: string): string {
  return id.length > 20 ? `${id.slice(0, 12)}…${id.slice(-4)}` : id;
}
