import { type RefObject, useEffect, useRef, useState } from "react";

export const cx = (...parts: (string | false | null | undefined)[]): string =>
  parts.filter(Boolean).join(" ");

/** Size of an element in CSS pixels, so that text in drawings stays at its type size. */
export function useSize<T extends HTMLElement>(): [RefObject<T | null>, { w: number; h: number }] {
  const ref = useRef<T>(null);
  const [size, setSize] = useState({ w: 0, h: 0 });
  useEffect(() => {
    if (!ref.current) return;
    const watch = new ResizeObserver(
      ([entry]) => entry && setSize({ w: entry.contentRect.width, h: entry.contentRect.height }),
    );
    watch.observe(ref.current);
    return () => watch.disconnect();
  }, []);
  return [ref, size];
}
