import { useSyncExternalStore } from "react";

export const VIEWS = ["overview", "path", "peers", "doctor", "settings"] as const;
export type View = (typeof VIEWS)[number];

const subscribe = (listener: () => void): (() => void) => {
  addEventListener("hashchange", listener);
  return () => removeEventListener("hashchange", listener);
};

/** The parts of the address behind the #: a view and, for some, a part of it. */
export const useRoute = (): readonly [View, string] => {
  const hash = useSyncExternalStore(subscribe, () => location.hash);
  const [view = "", part = ""] = hash.replace(/^#\/?/, "").split("/");
  return [VIEWS.find((known) => known === view) ?? "overview", part];
};
