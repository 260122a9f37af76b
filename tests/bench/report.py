"""Turns what was measured into docs/benchmarks/: JSON to compare, a table to read, a plot to see."""

import json
from pathlib import Path
from typing import Any

Figures = dict[str, Any]

# Issue bars for three hops: how to find the figure, its bar, and whether more is better.
BARS: list[tuple[str, tuple[str, ...], float, bool]] = [
    ("bulk down, one stream, CPU-s/GB", ("down_1", "cpu_s_per_gb"), 8.0, False),
    ("bulk up, one stream, CPU-s/GB", ("up_1", "cpu_s_per_gb"), 8.0, False),
    ("bulk down, ten streams, CPU-s/GB", ("down_10", "cpu_s_per_gb"), 9.0, False),
    ("bulk up, ten streams, CPU-s/GB", ("up_10", "cpu_s_per_gb"), 9.0, False),
    ("a relay alone, down, CPU-s/GB", ("down_1", "relay_cpu_s_per_gb"), 1.6, False),
    ("a relay alone, up, CPU-s/GB", ("up_1", "relay_cpu_s_per_gb"), 1.6, False),
    ("bulk down, one stream, MB/s", ("down_1", "mb_s"), 150.0, True),
    ("bulk up, one stream, MB/s", ("up_1", "mb_s"), 150.0, True),
    ("echo round trip, idle, ms", ("echo_rtt_ms", "median"), 0.8, False),
    ("stream open, ms", ("stream_open_ms", "median"), 2.0, False),
    ("stream open, back to back, ms", ("stream_open_back_to_back_ms", "median"), 2.0, False),
    ("circuit build, ms", ("circuit_build_ms", "median"), 20.0, False),
    ("1000 streams opened and echoed, s", ("streams_1000", "all_echoed_s"), 0.6, False),
    ("1000 streams, failed", ("streams_1000", "failed_in_all_rounds"), 0.0, False),
]


def pick(figures: Figures | None, path: tuple[str, ...]) -> Any:  # noqa: ANN401
    """A figure deep in a table, or None."""
    value: Any = figures
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text(value: object) -> str:
    """A figure as people read it."""
    if value is None:
        return "-"
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def count(hops: str) -> str:
    """A path length in words."""
    return f"{hops} hop{'s' * (hops != '1')}"


def bars_table(result: Figures) -> list[str]:
    """Three hops against the bars."""
    figures = result["networks"].get("3")
    lines = ["| figure, three hops | measured | bar | met |", "|---|---|---|---|"]
    rows: list[tuple[str, float | None, float | None, bool]] = [
        (name, pick(figures, path), bar, more) for name, path, bar, more in BARS
    ]
    ping, echo = result.get("prototype_ping_ms"), pick(figures, ("echo_rtt_ms", "median"))
    if ping and echo:
        rows.append((f"echo, times the prototype's {ping} ms in this run", round(echo / ping, 2), 1.8, False))
    for way, bare in (result.get("prototype_bulk_cpu_s_per_gb") or {}).items():
        spent = pick(figures, (f"{way}_1", "cpu_s_per_gb"))
        if bare and spent:
            name = f"bulk {way}, one stream, times the prototype's {bare} CPU-s/GB in this run"
            rows.append((name, round(spent / bare, 2), None, False))
    idle, loaded = pick(figures, ("rss_idle_mb",)) or {}, pick(figures, ("rss_loaded_mb",)) or {}
    relays = [value for name, value in idle.items() if name != "client"]
    rows.append(("memory, relay idle, MB", max(relays, default=None), 64.0, False))
    rows.append(("memory, client after load, MB", loaded.get("client"), 150.0, False))
    beside = pick(figures, ("echo_beside_bulk_ms",)) or {}
    for name, figure in beside.items():
        ratio = round(figure["median"] / echo, 1) if echo and figure["median"] else None
        rows.append(
            (f"echo beside ten bulk streams, {name.replace('_', ' ')}, times idle", ratio, 10.0, False)
        )
    for name, value, bar, more in rows:
        if bar is None:
            lines.append(f"| {name} | {text(value)} | | |")
            continue
        met = "-" if value is None else "yes" if (value >= bar if more else value <= bar) else "no"
        lines.append(f"| {name} | {text(value)} | {'at least' if more else 'at most'} {text(bar)} | {met} |")
    return lines


def hops_table(result: Figures) -> list[str]:
    """One column for each network, Tor's beside them if it ran."""
    networks: dict[str, Figures] = {count(hops): figures for hops, figures in result["networks"].items()}
    tor = result.get("peers", {}).get("tor")
    if tor:
        tor = {**tor, "stream_open_ms": tor.get("stream_setup_ms")}
        tor |= {"stream_open_back_to_back_ms": tor.get("stream_setup_back_to_back_ms")}
        networks["Tor, 3 hops"] = {
            **tor,
            "streams_100": tor.get("connect_100"),
            "streams_1000": tor.get("connect_1000"),
        }
    rows = [
        (f"{way}, {number} stream{'s' * (number > 1)}: {unit}", (f"{way}_{number}", key))
        for unit, key in (("MB/s", "mb_s"), ("CPU-s/GB", "cpu_s_per_gb"))
        for number in (1, 10)
        for way in ("down", "up")
    ]
    rows += [
        ("echo, ms", ("echo_rtt_ms", "median")),
        ("stream open, ms", ("stream_open_ms", "median")),
        ("stream open back to back, ms", ("stream_open_back_to_back_ms", "median")),
        ("circuit build, ms", ("circuit_build_ms", "median")),
        ("100 streams at once, s", ("streams_100", "all_echoed_s")),
        ("1000 streams at once, s", ("streams_1000", "all_echoed_s")),
    ]
    lines = ["| | " + " | ".join(networks) + " |", "|---" * (len(networks) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(text(pick(figures, path)) for figures in networks.values()) + " |"
        for name, path in rows
    ]
    return lines


def markdown(result: Figures) -> str:
    """The page."""
    about = (
        f"Written by `{result['command']}` on {result['machine']}. Client, relays and target on loopback, "
        "plain TCP links, AEAD at every hop. CPU-s/GB is user and system seconds of all VigilNet processes "
        f"(or all Tor processes) per 10^9 octets; transfers of {result['octets'] // 1_000_000} MB, medians "
        f"of {result['rounds']}. MB/s and ms move with other load on the machine: compare within a run."
    )
    each = "Per process, CPU-s/GB (one stream, down / up) and resident MB (idle / loaded):"
    lines = ["# Measured on one machine in one run", "", about, ""]
    lines += [*bars_table(result), "", *hops_table(result), "", each, ""]
    for hops, figures in result["networks"].items():
        down, up = pick(figures, ("down_1", "each")) or {}, pick(figures, ("up_1", "each")) or {}
        idle, loaded = figures["rss_idle_mb"], figures["rss_loaded_mb"]
        lines += [
            f"- {count(hops)}, {name}: {text(down.get(name))} / {text(up.get(name))}; "
            f"{idle[name]} / {loaded[name]} MB"
            for name in idle
        ]
    return "\n".join(lines) + "\n\n![CPU and throughput](core.svg)\n"


def plot(result: Figures, file: Path) -> None:
    """CPU and throughput by hops, Tor beside them if it ran."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = [count(hops) for hops in result["networks"]]
    tables = list(result["networks"].values())
    if tor := result.get("peers", {}).get("tor"):
        names, tables = [*names, "Tor 3 hops"], [*tables, tor]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    kinds = ("down_1", "up_1", "down_10", "up_10")
    for axes, key, title in ((left, "cpu_s_per_gb", "CPU-s/GB, all processes"), (right, "mb_s", "MB/s")):
        for place, kind in enumerate(kinds):
            heights = [pick(table, (kind, key)) or 0 for table in tables]
            axes.bar(
                [x + place * 0.2 - 0.3 for x in range(len(names))], heights, 0.2, label=kind.replace("_", " ")
            )
        axes.set_xticks(range(len(names)), names)
        axes.set_title(title)
        axes.grid(axis="y", alpha=0.3)
    left.legend()
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def put_into(page: Path, result: Figures) -> None:
    """Replace what stands between the marks of a page by the table of bars."""
    before, _, rest = page.read_text().partition("<!-- figures -->\n")
    _, mark, after = rest.partition("<!-- end of figures -->")
    if mark:
        page.write_text("\n".join([before + "<!-- figures -->", *bars_table(result), mark + after]))


def write(result: Figures, folder: Path, name: str) -> Path:
    """All three files; gives the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    page = folder / f"{name}.md"
    page.write_text(markdown(result).replace("core.svg", f"{name}.svg"))
    plot(result, folder / f"{name}.svg")
    return page
