"""Whether this process is traced: then its times say nothing about those of the product."""

import os
import sys


def is_traced() -> bool:
    """Whether coverage (of this process or of one that started it) or a debugger looks at every line."""
    monitoring = getattr(sys, "monitoring", None)  # from Python 3.12 on
    tools = [] if monitoring is None else [monitoring.get_tool(number) for number in range(6)]
    return (
        sys.gettrace() is not None
        or any(tools)
        or "COVERAGE_RUN" in os.environ
        or "COVERAGE_PROCESS_CONFIG" in os.environ
    )
