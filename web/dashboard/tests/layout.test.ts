import { expect, test } from "vitest";
import { layout, type Box, type Point, wholeWorld } from "../src/map/layout";

const W = 800;
const H = 360;
const stop = (number: number, text: string) => ({ code: text.slice(0, 2), number, text });
const overlaps = (a: Box, b: Box): boolean =>
  a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

test.each([
  [
    "near",
    [
      [1050, 260],
      [1040, 250],
      [1070, 200],
      [1045, 270],
    ],
  ],
  [
    "far",
    [
      [300, 300],
      [1700, 700],
      [1100, 250],
      [1800, 280],
    ],
  ],
  [
    "all the same",
    [
      [1050, 260],
      [1050, 260],
      [1050, 260],
      [1050, 260],
    ],
  ],
] as [string, Point[]][])(
  "stations that are %s are all inside, and labels do not hide each other",
  (_, at) => {
    const names = ["You", "Germany", "Netherlands", "Sweden"];
    const made = layout(
      names.map((name, i) => stop(i, name)),
      at,
      W,
      H,
    );
    expect(made.legs.length).toBe(3);
    for (const { x, y, label } of made.stops) {
      expect(x).toBeGreaterThan(0);
      expect(x).toBeLessThan(W);
      expect(y).toBeGreaterThan(0);
      expect(y).toBeLessThan(H);
      expect(label.x).toBeGreaterThanOrEqual(0);
    }
    const places = new Set(made.stops.map(({ x, y }) => `${x.toFixed()},${y.toFixed()}`));
    expect(places.size).toBe(4);
    made.stops.forEach((a, i) =>
      made.stops
        .slice(i + 1)
        .forEach((b) => expect(overlaps(a.label, b.label), `${a.text} ${b.text}`).toBe(false)),
    );
  },
);

test("the whole world fills the drawing", () => {
  const { scale } = wholeWorld({ width: 2000, height: 1040 }, W, H);
  expect(2000 * scale).toBeGreaterThanOrEqual(W);
  expect(1040 * scale).toBeGreaterThanOrEqual(H);
});
