"""The tile "Dashboards" in JupyterLab's launcher: it starts `workbench serve` when it is opened, behind JupyterLab's own door.

jupyter-server-proxy finds it as the entry point `workbench` of `jupyter_serverproxy_servers`; the pages are then at
`<address of JupyterLab>/workbench/`, for whoever may use that JupyterLab. Runs are those of WORKBENCH_RUNS, else of `runs`
in the folder where JupyterLab was started.
"""

from __future__ import annotations

import sys
from typing import Any

from workbench.resources import templates_folder


def tile() -> dict[str, Any]:
    """What jupyter-server-proxy is told; {port} and {base_url} are its own words.

    >>> tile()["command"][2:]
    ['workbench.cli', 'serve', '--port', '{port}', '--prefix', '{base_url}workbench']
    """
    serve = ["workbench.cli", "serve", "--port", "{port}", "--prefix", "{base_url}workbench"]
    own = "127.0.0.1:{port}"  # JupyterLab has checked who asks, and from where; its public name is none of ours
    return {
        "command": [sys.executable, "-m", *serve],
        "absolute_url": True,
        "timeout": 60,
        "request_headers_override": {"Host": own, "Origin": f"http://{own}"},
        "launcher_entry": {
            "title": "Dashboards",
            "icon_path": str(templates_folder() / "launcher.svg"),
            "path_info": "workbench/",
            "category": "Notebook",
        },
    }
