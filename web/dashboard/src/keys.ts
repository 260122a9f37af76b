// Keys for those who do not use a mouse: g and a letter goes to a view, n asks for a new path, / searches and
// ? lists them. They are off while somebody types.
import { useEffect } from "react";
import { VIEWS } from "./route";

export const VIEW_KEYS = { o: "overview", p: "path", e: "peers", d: "doctor", s: "settings" } as const;

const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement &&
  target.closest("input:not([type=radio]), select, textarea, dialog") !== null;

export function useKeys(): void {
  useEffect(() => {
    let isAfterG = false;
    const listen = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      const view = VIEW_KEYS[event.key as keyof typeof VIEW_KEYS];
      if (isAfterG && view && VIEWS.includes(view)) location.hash = `#/${view}`;
      else if (event.key === "n") document.querySelector<HTMLElement>("[data-new-path]")?.click();
      else if (event.key === "?") document.querySelector<HTMLElement>("[data-keys]")?.click();
      else if (event.key === "/") {
        const search = document.querySelector<HTMLElement>("[data-search]");
        if (search) {
          event.preventDefault();
          search.focus();
        }
      }
      isAfterG = event.key === "g";
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
}
