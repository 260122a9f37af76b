// Checks every token pair that components use, in both themes.
import { readFileSync } from "node:fs";
const css = readFileSync("ui/src/tokens.css", "utf8");
const block = (start) => css.slice(css.indexOf(start)).match(/\{([^}]*)\}/)[1];
const read = (s) =>
  Object.fromEntries([...s.matchAll(/--([\w-]+):\s*(#[0-9a-f]{6})\b/gi)].map((m) => [m[1], m[2]]));
const themes = {
  light: read(block(":root {")),
  dark: { ...read(block(":root {")), ...read(block('[data-theme="dark"]')) },
};
const lum = (hex) =>
  [1, 3, 5]
    .map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((s, c, i) => s + c * [0.2126, 0.7152, 0.0722][i], 0);
const ratio = (a, b) => {
  const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
};
const grounds = ["bg", "surface", "sunken"];
const pairs = [
  ...["ink", "ink-2", "ink-3"].flatMap((t) => grounds.map((g) => [t, g, 4.5])),
  ...["ok", "warn", "bad", "hold"].flatMap((t) => [
    [`${t}-ink`, `${t}-soft`, 4.5],
    [`${t}-ink`, "surface", 4.5],
    [t, "surface", 3],
    [t, `${t}-soft`, 3],
    [t, "bg", 3],
  ]),
  ["on-accent", "accent", 4.5],
  ["accent-ink", "accent-soft", 4.5],
  ["accent-ink", "surface", 4.5],
  ["accent-ink", "sunken", 4.5],
  ["control", "surface", 3],
  ["control", "bg", 3],
  ["d1", "surface", 3],
  ["d2", "surface", 3],
  ["accent", "surface", 3],
];
let bad = 0;
for (const [name, t] of Object.entries(themes))
  for (const [f, g, min] of pairs) {
    const r = ratio(t[f], t[g]);
    if (r < min) {
      bad++;
      console.log(`${name}: ${f} on ${g} ${r.toFixed(2)} < ${min}`);
    }
  }
console.log(`${pairs.length * 2} pairs, ${bad} below AA`);
process.exit(bad ? 1 : 0);
