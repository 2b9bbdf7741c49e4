"""A module that cannot be imported, for a reason of its own."""

raise RuntimeError("this module does not work here")
