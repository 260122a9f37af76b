import type { Path } from "@vigilnet/ui/api-types";

/** Paths that carry something first, then the youngest; those built ahead and those that end come last. */
export function inUseFirst(a: Path, b: Path): number {
  const rank = (path: Path): number => (path.is_retired ? 2 : path.is_ready ? 1 : 0);
  return rank(a) - rank(b) || b.streams - a.streams || a.age_s - b.age_s || a.id - b.id;
}
