"""The host fuse: when the machine is not trusted any more, and how it is tried again."""
