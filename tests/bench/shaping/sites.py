"""Sixteen sites of eight kinds: pages, their parts, and how far away each site is (seeded)."""

import json
import os
import random
from dataclasses import dataclass
from pathlib import Path

KINDS = ("news", "blog", "docs", "shop", "app", "video", "mail", "chat")
COUNT = 16
DOMAIN = "site.test"

# pages' pictures from and to, octets of text, style files, scripts
SHAPES = {
    "news": (12, 40, 55_000, 6, 4), "blog": (3, 10, 12_000, 2, 1), "docs": (1, 4, 25_000, 3, 2),
    "shop": (15, 45, 30_000, 4, 5), "app": (1, 4, 4_000, 2, 4), "video": (3, 10, 15_000, 3, 3),
    "mail": (1, 5, 9_000, 3, 4), "chat": (1, 6, 7_000, 2, 3),
}  # fmt: skip

HELPERS = (
    "const W=ms=>new Promise(r=>setTimeout(r,ms)),R=(a,b)=>a+Math.random()*(b-a);"
    "let A=(u,o)=>fetch(u,o).then(r=>r.arrayBuffer()).catch(e=>0);"
)

NGINX = """
pid {folder}/nginx.pid; error_log {folder}/nginx.err; worker_processes 1; daemon off; user root;
events {{ worker_connections 2000; }}
http {{
  access_log off; client_max_body_size 20m; sendfile on; tcp_nopush on;
  types {{ text/html html; text/css css; application/javascript js; image/jpeg jpg; font/woff2 woff2; }}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:S:4m;
{servers}
}}
"""

SERVER = """
  server {{
    listen {address}:443 ssl http2; listen {address}:4443 ssl http2;
    server_name {name}; root {root}; add_header cache-control "max-age=3600";
    location ~ html$ {{ add_header cache-control "no-cache"; }}
    location /api/ {{ proxy_pass http://127.0.0.1:8000; add_header cache-control "no-store"; }}
    location /ws {{ proxy_pass http://127.0.0.1:8000; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; }}
  }}
"""


@dataclass(frozen=True)
class Site:
    """One site and the wire to it."""

    number: int
    kind: str
    delay_s: float  # one way
    down: float  # octets a second
    up: float
    pages: int

    @property
    def address(self) -> str:
        return f"10.88.{self.number}.1"

    @property
    def name(self) -> str:
        return f"s{self.number}.{DOMAIN}"


def all_sites(seed: int = 77) -> list[Site]:
    """Return the sites; nothing is written."""
    rng = random.Random(seed)
    return [
        Site(
            number,
            KINDS[(number - 1) % len(KINDS)],
            round(rng.uniform(0.006, 0.045), 4),
            rng.choice((1.5e6, 2.5e6, 5e6, 10e6)),
            rng.choice((0.8e6, 1.5e6, 3e6)),
            rng.randint(5, 10),
        )
        for number in range(1, COUNT + 1)
    ]


def write_sites(folder: Path, sites: list[Site], seed: int = 77) -> Path:
    """Write pages and parts; return nginx's settings file. The folder holds the certificates."""
    servers = []
    for site in sites:
        root = folder / f"s{site.number}"
        root.mkdir(exist_ok=True)
        _write_site(root, site, random.Random(seed * 1000 + site.number))
        servers.append(SERVER.format(address=site.address, name=site.name, root=root))
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, servers="".join(servers)))
    return config


def _size(rng: random.Random, median: float, spread: float, low: int, high: int) -> int:
    return int(max(low, min(high, rng.lognormvariate(0, spread) * median)))


def _text(size: int, before: str = "", after: str = "") -> str:
    return before + "/*" + os.urandom(max(0, size - 4) // 2 + 1).hex()[: max(0, size - 4)] + "*/" + after


def _write_site(root: Path, site: Site, rng: random.Random) -> None:
    shape = SHAPES[site.kind]
    for at in range(shape[3]):
        (root / f"c{at}.css").write_text(_text(_size(rng, 22_000, 0.8, 800, 150_000), "body{margin:0}"))
    for at in range(shape[4]):
        (root / f"j{at}.js").write_text(_text(_size(rng, 60_000, 0.9, 1500, 500_000), after=";"))
    median = {"news": 22_000, "shop": 11_000, "blog": 35_000}.get(site.kind, 9_000)
    for at in range(90):
        (root / f"i{at}.jpg").write_bytes(os.urandom(_size(rng, median, 1.1, 300, 600_000)))
    (root / "f0.woff2").write_bytes(os.urandom(_size(rng, 28_000, 0.4, 9_000, 80_000)))
    (root / "favicon.ico").write_bytes(os.urandom(_size(rng, 1500, 0.8, 300, 15_000)))
    for at in range(3):
        (root / f"d{at}.bin").write_bytes(os.urandom(_size(rng, 2_500_000, 0.8, 500_000, 9_000_000)))
    if site.kind == "video":
        for at in range(12):
            (root / f"v{at}.m4s").write_bytes(os.urandom(_size(rng, 450_000, 0.4, 150_000, 1_200_000)))
    for page in range(site.pages):
        (root / f"p{page}.html").write_text(_page(site, page, rng))


def _page(site: Site, page: int, rng: random.Random) -> str:
    shape = SHAPES[site.kind]
    pictures = rng.sample(range(90), rng.randint(*shape[:2]))
    parts = ["<html><head><meta charset=utf-8><link rel=icon href=/favicon.ico>"]
    parts += [f"<link rel=stylesheet href=/c{at}.css>" for at in range(shape[3])]
    parts.append("<style>@font-face{font-family:F;src:url(/f0.woff2)}body{font-family:F}</style>")
    parts += [
        f"<script src=/j{at}.js {'defer' if rng.random() < 0.6 else ''}></script>" for at in range(shape[4])
    ]
    parts.append("</head><body>")
    text = os.urandom(_size(rng, shape[2], 0.6, 600, 300_000) // 2).hex()
    cut = max(1, len(text) // (len(pictures) + 1))
    for at, picture in enumerate(pictures):
        lazy = "loading=lazy" if rng.random() < 0.2 else ""
        parts.append(f"{text[at * cut : (at + 1) * cut]}<img width=80 height=60 {lazy} src=/i{picture}.jpg>")
    return (
        "".join(parts) + f"<script>{HELPERS}onload=async()=>{{{_program(site, page, rng)}}}</script></body>"
    )


def _program(site: Site, page: int, rng: random.Random) -> str:
    calls = rng.randint(0, 3) if site.kind in ("blog", "docs") else rng.randint(1, 7)
    lines = []
    for _ in range(calls):
        lines.append(f"A('/api/j?n={_size(rng, 2500, 1.2, 60, 90_000)}&d={rng.randint(1, 180)}');")
        if rng.random() < 0.6:
            lines.append(f"await W(R(5,{rng.randint(20, 600)}));")
    if rng.random() < 0.7:
        lines.append(f"navigator.sendBeacon('/api/p','x'.repeat(R(80,{rng.randint(300, 3000)})|0));")
    lines.append(_own_program(site, page, rng))
    if rng.random() < 0.12:
        lines.append(f"A('/d{rng.randint(0, 2)}.bin');")
    return "".join(lines)


def _own_program(site: Site, page: int, rng: random.Random) -> str:
    """What only this kind of site does."""
    if site.kind == "app":
        return (
            f"for(let i=0;i<60;i++){{await W(R(300,{rng.randint(1200, 4000)}));"
            f"A('/api/j?n='+(R(60,{_size(rng, 3000, 1, 300, 40_000)})|0)+'&d='+(R(1,80)|0));"
            "if(Math.random()<.3)A('/api/p',{method:'POST',body:'y'.repeat(R(30,1500)|0)})}"
        )
    if site.kind == "video":
        return f"for(let i=0;i<40;i++){{await A('/v'+(i+{page})%12+'.m4s');if(i>2)await W(R(700,2200))}}"
    if site.kind == "mail":
        return (
            f"await W(R(200,1500));for(let i=0;i<{rng.randint(1, 4)};i++){{await A('/api/p',{{method:'POST',"
            f"body:new Uint8Array(R(2000,{_size(rng, 900_000, 0.9, 60_000, 5_000_000)})|0)}});"
            "await W(R(200,2500))}for(let i=0;i<9;i++)"
            "await A('/api/j?n='+(R(40,400)|0)+'&d='+(R(500,5000)|0));"
        )
    if site.kind == "chat":
        return (
            f"let w=new WebSocket('wss://'+location.host+'/ws?r={rng.randint(1, 5)}');w.onopen=async()=>{{"
            f"for(let i=0;i<400;i++){{w.send('z'.repeat(R(1,{rng.choice((8, 60, 200))})|0));"
            "await W(Math.random()<.8?R(60,350):R(400,2500))}};"
        )
    return ""


def as_json(sites: list[Site]) -> str:
    """For processes of their own."""
    return json.dumps([[s.number, s.kind, s.delay_s, s.down, s.up, s.pages] for s in sites])


def from_json(text: str) -> list[Site]:
    """The same, read."""
    return [Site(*row) for row in json.loads(text)]
