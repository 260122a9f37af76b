/** Server-sent events out of a stream of text, as EventSource would give them; that one cannot send a token. */
export interface ServerEvent {
  topic: string;
  data: string;
}

const MAX_EVENT = 16 * 1024 * 1024;

export class EventParser {
  #rest = "";

  /** Returns the events that are whole now; comments only prove that the other end lives. */
  feed(text: string): ServerEvent[] {
    this.#rest = (this.#rest + text).replaceAll("\r\n", "\n");
    if (this.#rest.length > MAX_EVENT) throw new Error("event: longer than 16 MiB");
    const blocks = this.#rest.split("\n\n");
    this.#rest = blocks.pop() ?? "";
    return blocks.map(parseBlock).filter((event) => event.data !== "");
  }
}

function parseBlock(block: string): ServerEvent {
  const event = { topic: "message", data: [] as string[] };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    if (line.startsWith("event:")) event.topic = value;
    if (line.startsWith("data:")) event.data.push(value);
  }
  return { topic: event.topic, data: event.data.join("\n") };
}
