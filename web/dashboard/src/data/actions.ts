// Changes that a person asks for, and what came of the last one: said once, in one place of the page.
import type { Changed, Protection } from "@vigilnet/ui/api-types";
import { useSyncExternalStore } from "react";
import { ApiError, change } from "./client";
import { retry } from "./live";

export interface Outcome {
  readonly isError: boolean;
  readonly message: string;
  readonly why: string;
  readonly next: string;
}

let outcome: Outcome | null = null;
let busy = 0;
const listeners = new Set<() => void>();
const tell = (): void => listeners.forEach((listener) => listener());
const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export const useOutcome = (): Outcome | null => useSyncExternalStore(subscribe, () => outcome);
export const useBusy = (): boolean => useSyncExternalStore(subscribe, () => busy > 0);

export function report(message: string, error?: ApiError): void {
  outcome = { isError: Boolean(error), message, why: error?.why ?? "", next: error?.next ?? "" };
  tell();
}

export function dismiss(): void {
  outcome = null;
  tell();
}

/** Runs a change; says its outcome and returns its answer, or null where it failed. */
export async function run<T>(
  work: () => Promise<T>,
  said: (answer: T) => string = messageOf,
): Promise<T | null> {
  busy += 1;
  outcome = null;
  tell();
  try {
    const answer = await work();
    const message = said(answer);
    if (message) report(message);
    return answer;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    report(error.message, error);
    return null;
  } finally {
    busy -= 1;
    tell();
  }
}

function messageOf(answer: unknown): string {
  const message = (answer as Partial<Changed> | null)?.message;
  return typeof message === "string" ? message : "";
}

export const device = (params: { action: string; fields?: Record<string, unknown>; is_on?: boolean }) =>
  change("device", { fields: {}, ...params });

/** Does what a state's button says; the path of `new-path` is the one that is shown first. */
export function press(action: string, protection: Protection | null, firstPath: number | undefined): void {
  switch (action) {
    case "connect":
    case "disconnect":
      void run(() => change(action, {}));
      return;
    case "new-path":
      if (firstPath !== undefined) void run(() => change("new-path", { circuit: firstPath }));
      return;
    case "three-hops":
      void run(() => change("set-hops", { hops: 3 }));
      return;
    case "names-at-exit":
      void run(() => device({ action: "change", fields: { dns: "overlay" } }));
      return;
    case "whole-device":
      void run(() => device({ action: "up" }));
      return;
    case "lockdown-off":
      void run(() => device({ action: "lockdown", is_on: false }));
      return;
    case "doctor":
      location.hash = "#/doctor";
      return;
    case "retry":
      retry();
      return;
    default:
      report(`${action}: ${protection?.id ?? ""}`, new ApiError("failed", ""));
  }
}
