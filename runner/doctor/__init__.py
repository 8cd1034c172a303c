"""Looks at everything a daemon of these settings depends on, before it is needed: the doctor."""
