// What the node is and does now: one store, filled by its event stream. When the stream ends, the last values
// stay, with the time since when they may be old, and it is asked again, a little less often each time.
import type { LogLine, Path, Peer, Status, Stream, TrafficSample } from "@vigilnet/ui/api-types";
import { useSyncExternalStore } from "react";
import { ApiError, read, watch } from "./client";
import { EventParser, type ServerEvent } from "./sse";

export interface Live {
  /** starting: nothing came yet; lost: no answer since `lostAt`; refused: the token is not good. */
  readonly link: "starting" | "live" | "lost" | "refused";
  readonly lostAt: number;
  readonly status: Status | null;
  readonly paths: readonly Path[];
  readonly peers: readonly Peer[];
  readonly streams: readonly Stream[];
  readonly traffic: readonly TrafficSample[];
  readonly log: readonly LogLine[];
}

const TOPICS = ["status", "traffic", "paths", "streams", "peers", "log"] as const;
const SILENCE_MS = 40_000; // the node says something every 15 s
const RETRY_MS = [250, 500, 1000, 2000, 5000];
const MAX_SAMPLES = 60;
const MAX_LINES = 1000;

let state: Live = {
  link: "starting",
  lostAt: 0,
  status: null,
  paths: [],
  peers: [],
  streams: [],
  traffic: [],
  log: [],
};
const listeners = new Set<() => void>();
let wake: (() => void) | null = null;

function set(part: Partial<Live>): void {
  state = { ...state, ...part };
  for (const listener of listeners) listener();
}

/** The state after an event; a topic that these pages do not know changes nothing. */
export function after(before: Live, { topic, data }: ServerEvent): Live {
  const value: unknown = JSON.parse(data);
  switch (topic) {
    case "traffic":
      return { ...before, traffic: addSample(before.traffic, value as TrafficSample) };
    case "log":
      return { ...before, log: addLines(before.log, [value as LogLine]) };
    case "status":
      return { ...before, status: value as Status };
    case "paths":
      return { ...before, paths: value as Path[] };
    case "peers":
      return { ...before, peers: value as Peer[] };
    case "streams":
      return { ...before, streams: value as Stream[] };
    default:
      return before;
  }
}

function addSample(samples: readonly TrafficSample[], sample: TrafficSample): readonly TrafficSample[] {
  const last = samples.at(-1);
  return last && last.at >= sample.at ? samples : [...samples, sample].slice(-MAX_SAMPLES);
}

/** Lines in the order of their numbers, each once. */
export function addLines(lines: readonly LogLine[], more: readonly LogLine[]): readonly LogLine[] {
  const last = lines.at(-1)?.number ?? -1;
  if (more.every((line) => line.number > last)) return [...lines, ...more].slice(-MAX_LINES);
  const all = new Map([...lines, ...more].map((line) => [line.number, line]));
  return [...all.values()].sort((a, b) => a.number - b.number).slice(-MAX_LINES);
}

async function follow(signal: AbortSignal, isAlive: () => void): Promise<void> {
  const [stream, history, log] = await Promise.all([
    watch(TOPICS, signal),
    read("traffic"),
    read("logs", { limit: "500" }),
  ]);
  set({ traffic: history.samples, log: log.lines });
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    isAlive();
    const events = parser.feed(decoder.decode(value, { stream: true }));
    if (events.length) set({ ...events.reduce(after, state), link: "live" });
  }
}

async function pause(ms: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
  wake = null;
}

/** Follows the node for as long as this page is open. */
export async function start(): Promise<void> {
  for (let failures = 0; ; failures += 1) {
    const ending = new AbortController();
    let timer = setTimeout(() => ending.abort(), SILENCE_MS);
    try {
      await follow(ending.signal, () => {
        failures = 0;
        clearTimeout(timer);
        timer = setTimeout(() => ending.abort(), SILENCE_MS);
      });
    } catch (error) {
      if (error instanceof ApiError && error.code === "unauthorized") set({ link: "refused" });
      else if (!(error instanceof Error)) throw error;
    } finally {
      clearTimeout(timer);
      ending.abort();
    }
    if (state.link !== "refused" && state.link !== "lost") set({ link: "lost", lostAt: Date.now() });
    await pause(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] ?? 5000);
  }
}

/** Asks again at once. */
export const retry = (): void => wake?.();

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

/** One slice of the state; the component renders again when that slice is another one. */
export const useLive = <T>(pick: (live: Live) => T): T => useSyncExternalStore(subscribe, () => pick(state));
