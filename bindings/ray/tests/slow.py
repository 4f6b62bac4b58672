#!/usr/bin/env python3
"""`verbatim serve`, but each event takes a while: so that a stream can be struck in its middle.

The real program is VERBATIM_REAL, the milliseconds are VERBATIM_SLOW_MS. It says that it is ready
as the real one does, with an address and a process id of its own.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

from wire import Wire


async def main() -> int:
    """Relays until the real server ends, and its last connection with it."""
    command = [os.environ["VERBATIM_REAL"], *sys.argv[1:]]
    real = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert real.stdout is not None
    line = real.stdout.readline()
    if not line:
        return real.wait()
    ready = json.loads(line)
    wire = Wire(SimpleNamespace(url=ready["url"]))
    wire.delay = int(os.environ["VERBATIM_SLOW_MS"]) / 1000
    await wire.listen(ready["url"].removeprefix("http://").partition(":")[0])
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, real.terminate)
    print(json.dumps({**ready, "url": wire.url, "pid": os.getpid()}), flush=True)
    code = await asyncio.to_thread(real.wait)
    while wire.open:
        await asyncio.sleep(0.02)
    return code


sys.exit(asyncio.run(main()))
