/** What a node may be for others, in the order in which it asks more of its owner. */
export const MODES = ["client", "relay", "bootstrap", "exit", "super"] as const;
export type Mode = (typeof MODES)[number];

export const modeKey = (mode: string): `mode.${Mode}` | "mode.off" => {
  const known = MODES.find((each) => each === mode);
  return known ? `mode.${known}` : "mode.off";
};
