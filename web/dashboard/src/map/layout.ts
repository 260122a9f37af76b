// Where the stations of a path stand on the map and where their labels fit; in pixels of the drawing.
export type Point = readonly [x: number, y: number];

export interface Stop {
  code: string;
  number: number;
  text: string;
}
export interface Box {
  x: number;
  y: number;
  w: number;
  h: number;
}
export interface Placed extends Stop {
  x: number;
  y: number;
  label: Box;
}
export interface Layout {
  scale: number;
  shiftX: number;
  shiftY: number;
  legs: readonly string[];
  stops: readonly Placed[];
}

const overlap = (a: Box, b: Box): number =>
  Math.max(0, Math.min(a.x + a.w, b.x + b.w) - Math.max(a.x, b.x)) *
  Math.max(0, Math.min(a.y + a.h, b.y + b.h) - Math.max(a.y, b.y));

const CLOSEST = 3.2; // a country is all we know: nearer would claim more
const DOT = 13;
const LABEL_H = 22;
const LETTER_W = 6.6;

/** Stations of the same country stand around its point, so that each can be seen. */
function spread(points: readonly Point[]): Point[] {
  return points.map(([x, y], index) => {
    const same = points.filter(([ox, oy]) => ox === x && oy === y).length;
    if (same === 1) return [x, y];
    const turn =
      (points.slice(0, index).filter(([ox, oy]) => ox === x && oy === y).length / same) * 2 * Math.PI;
    const radius = same === 2 ? 18 : 24;
    return [x - Math.cos(turn) * radius, y - Math.sin(turn) * radius * (same === 2 ? 0.6 : 1)];
  });
}

function bounds(points: readonly Point[]) {
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  return { w: right - left, h: bottom - top, x: (left + right) / 2, y: (top + bottom) / 2 };
}

/** The whole world, when no station of the path says where it is. */
export function wholeWorld(world: { width: number; height: number }, w: number, h: number): Layout {
  const scale = Math.max(w / world.width, h / world.height);
  return {
    scale,
    shiftX: (w - world.width * scale) / 2,
    shiftY: (h - world.height * scale) * 0.3, // more people live in the north
    legs: [],
    stops: [],
  };
}

export function layout(stops: readonly Stop[], at: readonly Point[], w: number, h: number): Layout {
  const { w: width, h: height, x: midX, y: midY } = bounds(at);
  const scale = Math.min(w / Math.max(width * 1.5, 420), h / Math.max(height * 1.7, 190), CLOSEST);
  const shiftX = w / 2 - midX * scale;
  const shiftY = h / 2 - midY * scale;
  const spots = spread(at.map(([x, y]): Point => [x * scale + shiftX, y * scale + shiftY]));
  const legs = spots.slice(1).map((to, index) => {
    const from = spots[index] ?? to;
    const bend = Math.min(60, Math.hypot(to[0] - from[0], to[1] - from[1]) * 0.18);
    return `M${from[0]} ${from[1]}Q${(from[0] + to[0]) / 2} ${(from[1] + to[1]) / 2 - bend} ${to[0]} ${to[1]}`;
  });
  const taken: Box[] = spots.map(([x, y]) => ({ x: x - DOT, y: y - DOT, w: 2 * DOT, h: 2 * DOT }));
  const placed = stops.map((stop, index): Placed => {
    const [x, y] = spots[index] ?? [0, 0];
    const label = bestSpot(x, y, stop.text.length * LETTER_W + 18, taken, w, h);
    taken.push(label);
    return { ...stop, x, y, label };
  });
  return { scale, shiftX, shiftY, legs, stops: placed };
}

function bestSpot(x: number, y: number, labelW: number, taken: readonly Box[], w: number, h: number): Box {
  const spots: Box[] = [
    { x: x + 16, y: y - 11, w: labelW, h: LABEL_H },
    { x: x - labelW - 16, y: y - 11, w: labelW, h: LABEL_H },
    { x: x - labelW / 2, y: y + 16, w: labelW, h: LABEL_H },
    { x: x - labelW / 2, y: y - 38, w: labelW, h: LABEL_H },
    { x: x + 16, y: y + 14, w: labelW, h: LABEL_H },
    { x: x - labelW - 16, y: y + 14, w: labelW, h: LABEL_H },
  ];
  const cost = (box: Box): number =>
    taken.reduce((sum, other) => sum + overlap(box, other), 0) +
    (box.x < 4 || box.x + box.w > w - 4 || box.y < 4 || box.y + box.h > h - 4 ? 1e4 : 0);
  return spots.reduce((best, box) => (cost(box) < cost(best) ? box : best));
}
