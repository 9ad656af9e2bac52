"""Apps: views become one page, that page is painted at once by the server, and kept whole in a report.

`page` is the call a notebook ends with, `snapshot` is what a run leaves for the first paint, `report` makes one file of an
executed notebook, `server` shows them all. `shell` fills the templates in the folder `templates/`.
"""
