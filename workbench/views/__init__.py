"""Pictures: a cube or a tidy frame in, a HoloViews object out. They draw what they are given and know no page."""
