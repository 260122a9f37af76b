"""curl's library with HTTP/3, which Debian 12's curl lacks: `python curl_http3.py URL ROOT` prints JSON."""

import hashlib
import io
import json
import sys

from curl_cffi import Curl, CurlHttpVersion, CurlInfo, CurlOpt


def main() -> None:
    """Fetch, by HTTP/3 or not at all."""
    url, root = sys.argv[1:]
    body = io.BytesIO()
    curl = Curl()
    curl.setopt(CurlOpt.URL, url.encode())
    curl.setopt(CurlOpt.CAINFO, root.encode())
    curl.setopt(CurlOpt.HTTP_VERSION, CurlHttpVersion.V3ONLY)
    curl.setopt(CurlOpt.TIMEOUT, 60)
    curl.setopt(CurlOpt.WRITEDATA, body)
    curl.perform()
    facts = {
        "version": curl.getinfo(CurlInfo.HTTP_VERSION),
        "status": curl.getinfo(CurlInfo.RESPONSE_CODE),
        "seconds": curl.getinfo(CurlInfo.TOTAL_TIME),
        "octets": len(body.getvalue()),
        "sha256": hashlib.sha256(body.getvalue()).hexdigest(),
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
