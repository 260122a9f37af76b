import type { Path } from "@vigilnet/ui/api-types";
import type { Translate } from "@vigilnet/ui/i18n";

/** Paths that carry something first, then the youngest; those built ahead and those that end come last. */
export function inUseFirst(a: Path, b: Path): number {
  const rank = (path: Path): number => (path.is_retired ? 2 : path.is_ready ? 1 : 0);
  return rank(a) - rank(b) || b.streams - a.streams || a.age_s - b.age_s || a.id - b.id;
}

/** Whose a path is. The node tells logins apart by a digest, never by name; a few letters of it are enough. */
export function nameOf(path: Path, t: Translate): string {
  if (/^[0-9a-f]{32,}$/.test(path.label)) return t("path.login", { id: path.label.slice(0, 6) });
  return path.label || t(path.is_retired ? "path.retired" : path.is_ready ? "path.ready" : "path.shared");
}
