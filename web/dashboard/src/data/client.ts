// The control API of the node that serves this page. The token comes behind the # of the address, which no
// server and no log ever sees; it stays in this tab alone and goes with every request in a header.
import type { Changes, Reads } from "@vigilnet/ui/api-types";

const BASE = "/api/v1/";
const KEPT = "vigilnet.token";
const TIMEOUT_MS = 20_000;

export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly why = "",
    readonly next = "",
  ) {
    super(message);
  }
}

let token = "";

/** Takes the token out of the address, or the one that this tab had before it was reloaded. */
export function takeToken(): void {
  const given = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
  if (given) {
    token = given;
    history.replaceState(null, "", `${location.pathname}${location.search}#/overview`);
  }
  try {
    if (given) sessionStorage.setItem(KEPT, given);
    else token ||= sessionStorage.getItem(KEPT) ?? "";
  } catch {
    // storage may be blocked: the token then lasts until this page is reloaded
  }
}

const headers = (): Record<string, string> => ({ Authorization: `Bearer ${token}` });

async function answerOf<T>(response: Response): Promise<T> {
  const body: unknown = await response.json().catch(() => null);
  if (response.ok) return body as T;
  const error = (body as { error?: { code?: string; message?: string; why?: string; next?: string } } | null)
    ?.error;
  throw new ApiError(
    error?.code ?? (response.status === 401 ? "unauthorized" : "failed"),
    error?.message ?? `HTTP ${response.status}`,
    error?.why,
    error?.next,
  );
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(BASE + path, {
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...init,
      headers: { ...headers(), ...init.headers },
    });
  } catch (error) {
    throw new ApiError("no-daemon", error instanceof Error ? error.message : String(error));
  }
}

export async function read<K extends keyof Reads>(
  name: K,
  query: Readonly<Record<string, string>> = {},
): Promise<Reads[K]> {
  const search = new URLSearchParams(query).toString();
  return answerOf<Reads[K]>(await ask(name + (search ? `?${search}` : "")));
}

export async function change<K extends keyof Changes>(
  name: K,
  params: Changes[K]["params"],
): Promise<Changes[K]["answer"]> {
  const init = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(params),
  };
  return answerOf<Changes[K]["answer"]>(await ask(name, init));
}

/** The stream of events; it has no time limit, whoever reads it watches for silence. */
export async function watch(
  topics: readonly string[],
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array>> {
  const response = await ask(`events?topics=${topics.join(",")}`, { signal });
  if (!response.ok || !response.body) return answerOf<never>(response);
  return response.body;
}
