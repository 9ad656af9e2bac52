"""The peers, each with the statistics that it can give; none of these modules imports workbench."""
